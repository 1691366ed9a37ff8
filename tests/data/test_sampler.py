"""One stream of samples, whatever the number of processes and wherever it starts."""

from itertools import islice

import pytest

from openvocab.data.sampler import ResumableTrainingSampler


def take(count, **arguments):
    return list(islice(ResumableTrainingSampler(**({"size": 7, "seed": 3} | arguments)), count))


def test_every_epoch_holds_every_sample_once_in_another_order():
    stream = take(21)
    assert [draw for draw, _ in stream] == list(range(21))
    epochs = [[index for _, index in stream[start : start + 7]] for start in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert take(7, seed=4) != stream[:7]


@pytest.mark.parametrize("start", [1, 7, 12, 700])
def test_it_starts_anywhere(start):
    assert take(10, start=start) == take(start + 10)[start:]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_global_batch_does_not_depend_on_the_number_of_processes(processes):
    batch, start = 4, 8
    share = batch // processes
    streams = [take(3 * share, start=start, rank=rank, world_size=processes) for rank in range(processes)]
    for step in range(3):
        union = [item for stream in streams for item in stream[step * share : (step + 1) * share]]
        assert sorted(union) == take(start + 12)[start + 4 * step : start + 4 * step + 4]


@pytest.mark.parametrize("arguments", [{"size": 0}, {"start": -1}, {"seed": -1}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="expected at least"):
        take(1, **arguments)
