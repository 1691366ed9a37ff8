"""Streams in threads: order, bounds, ends, and one picture's error that is its own."""

import itertools
import threading
import time

import numpy as np
import pytest
import torch

from openvocab.inference.many import answers, checked_batch_size, checked_images
from openvocab.inference.ordered import in_order


def alive() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("openvocab")}


def test_answers_come_in_order_however_long_each_takes():
    def slow(number):
        time.sleep(0.01 * (number % 3 == 0))
        return number

    assert list(in_order(slow, range(20), 4, 6)) == list(range(20)) and not alive()


def test_no_more_is_taken_than_there_is_room_for():
    taken = []
    stream = in_order(lambda item: item, (taken.append(i) or i for i in itertools.count()), 2, 3)
    for number in range(50):
        assert next(stream) == number and len(taken) <= number + 3
    stream.close()
    assert not alive()


def test_an_answer_that_is_there_waits_for_no_further_item():
    """What asks for a picture only after the answer of the one before gets it."""
    asked, release = [], threading.Event()

    def items():
        yield 0
        release.wait(5)  # until the first is worked on
        yield 1
        asked.append(2)
        yield 2

    stream = in_order(lambda item: item if release.set() is None else None, items(), 1, 9)
    assert next(stream) == 0 and not asked
    stream.close()


def test_an_error_takes_the_place_of_its_answer_and_ends_the_rest():
    stream = in_order(lambda number: 1 / (number - 2), range(10), 2, 4)
    assert [next(stream), next(stream)] == [-0.5, -1]
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert list(stream) == [] and not alive()


def test_what_waits_is_not_begun_when_the_stream_is_closed():
    begun, three_are_taken, second = [], threading.Event(), threading.Event()

    def work(item):
        begun.append(item)
        if item:
            second.set()
            time.sleep(0.1)
        else:
            three_are_taken.wait(5)

    def items():
        yield from (0, 1, 2)
        three_are_taken.set()
        yield 3
        pytest.fail("there is room for four")

    stream = in_order(work, items(), 1, 4)
    next(stream)
    assert second.wait(5)
    stream.close()
    assert begun == [0, 1] and not alive()


def ask(batch):
    if 7 in batch:
        raise ValueError(f"7 is among {len(batch)}")
    return [10 * item for item in batch]


def read(image):
    if image == "broken":
        raise ValueError("image: broken")
    return image


@pytest.mark.parametrize(("size", "together"), [(1, False), (3, False), (1, True), (4, True)])
def test_one_answer_per_picture_and_errors_are_of_their_pictures(size, together):
    images = [1, "broken", 3, 7, 5, 6, "broken", "broken", "broken", "broken", 2]
    found = list(answers(iter(images), read, ask, size, together))
    assert [answer.image for answer in found] == images
    for answer in found:
        if answer.image == "broken":
            assert str(answer.error) == "image: broken" and answer.result is None
        elif answer.image == 7:
            assert str(answer.error) == "7 is among 1", "a batch that fails is asked one by one"
        else:
            assert answer.error is None and answer.result == 10 * answer.image


def test_an_endless_stream_and_an_empty_one():
    stream = answers(itertools.count(8), read, ask, 4, True)
    assert [next(stream).result for _ in range(20)] == list(range(80, 280, 10))
    stream.close()
    assert not alive()
    assert list(answers([], read, ask, 2, False)) == []


def test_batches_are_as_large_as_was_asked_for():
    sizes = []
    list(answers(range(8, 18), read, lambda batch: sizes.append(len(batch)) or batch, 4, True))
    assert sizes == [4, 4, 2]
    sizes.clear()
    list(answers(range(8, 18), read, lambda batch: sizes.append(len(batch)) or batch, 4, False))
    assert sizes == [1] * 10


def test_threads_compute_as_the_caller_does():
    """With another number of threads, sums are taken in another order."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert [
            answer.result for answer in answers([8, 9], read, lambda batch: [torch.get_num_threads()], 2, False)
        ] == [3, 3]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("images", ["folder", np.zeros((4, 6, 3), np.uint8), 3, None])
def test_what_is_no_iterable_of_pictures_is_refused(images):
    with pytest.raises(ValueError, match="images: expected pictures to iterate over"):
        checked_images(images)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"])
def test_batch_sizes(size):
    with pytest.raises(ValueError, match=r"batch_size: expected a whole number of at least 1, got"):
        checked_batch_size(size, torch.device("cpu"))
    assert checked_batch_size(None, torch.device("cuda")) == 8 and checked_batch_size(5, torch.device("cpu")) == 5
