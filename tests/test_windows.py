"""Windows: where they lie, and that merging undoes cutting."""

import pytest
import torch

from openvocab import windows
from openvocab.windows import (
    best_channel,
    best_per_class,
    keep_best,
    keep_best_at_once,
    make_views,
    merge_views,
    merge_windows,
    pad_to_multiple,
    resize,
    window_origins,
)

SIZES = [(640, 384, 256), (640, 384, 384), (50, 20, 7), (20, 20, 5), (21, 20, 20)]


@pytest.mark.parametrize(("size", "kernel", "stride", "want"), [
    (640, 384, 256, [0, 256]), (640, 384, 384, [0, 256]), (50, 20, 7, [0, 7, 14, 21, 28, 30]), (20, 20, 5, [0]),
    (21, 20, 20, [0, 1]),
])  # fmt: skip
def test_origins(size, kernel, stride, want):
    assert window_origins(size, kernel, stride) == want


@pytest.mark.parametrize(("kernel", "stride"), [(0, 1), (641, 1), (384, 0), (384, 385)])
def test_origins_errors(kernel, stride):
    with pytest.raises(ValueError, match="kernel: got|stride: got"):
        window_origins(640, kernel, stride)


@pytest.mark.parametrize(("size", "kernel", "stride"), SIZES)
def test_merge_undoes_cut(size, kernel, stride):
    image = torch.rand(3, size, size)
    views = make_views(image, size, kernel, stride)
    assert views.shape == (len(window_origins(size, kernel, stride)) ** 2 + 1, 3, kernel, kernel)
    torch.testing.assert_close(merge_windows(views[:-1], views[0], size, stride), image, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "kernel", "stride"), SIZES)
def test_merge_of_a_constant_is_that_constant(size, kernel, stride):
    count = len(window_origins(size, kernel, stride)) ** 2 + 1
    merged = merge_views(torch.full((count, 2, kernel, kernel), 0.3), size, stride)
    torch.testing.assert_close(merged, torch.full((2, size, size), 0.3))


def test_row_major_order_and_global_view():
    image = torch.arange(16.0).reshape(1, 4, 4).repeat(3, 1, 1)
    views = make_views(image, 4, 2, 2)
    assert views[:, 0, 0, 0].tolist()[:4] == [0, 2, 8, 10]
    assert torch.equal(views[4], resize(image[None], (2, 2))[0])


def test_the_global_view_counts_as_much_as_the_windows():
    views = torch.zeros(5, 1, 2, 2)
    views[4] = 1
    assert torch.equal(merge_views(views, 4, 2), torch.full((1, 4, 4), 0.5))


def test_merge_needs_all_windows():
    with pytest.raises(ValueError, match="windows: got 3, expected 4"):
        merge_windows(torch.zeros(3, 1, 2, 2), torch.zeros(1, 2, 2), 4, 2)


@pytest.mark.parametrize(("multiple", "shape"), [(32, (3, 64, 32)), (1, (3, 33, 32)), (0, (3, 33, 32))])
def test_padding(multiple, shape):
    image = torch.ones(3, 33, 32)
    padded = pad_to_multiple(image, multiple)
    assert padded.shape == shape
    assert torch.equal(padded[:, :33, :32], image)
    assert padded.sum() == image.sum()


@pytest.mark.parametrize("chunk", [1, 3 * 12 * 11, 10**6])
def test_best_channel_in_chunks(monkeypatch, chunk):
    monkeypatch.setattr(windows, "PIXELS_PER_CHUNK", chunk)
    maps = torch.rand(7, 5, 6)
    maps[6] = maps[2]  # of equal ones the first
    value, index = resize(maps[None], (12, 11))[0].max(dim=0)
    got_index, got_value = best_channel(maps, (12, 11))
    assert torch.equal(got_value, value)
    assert not (got_index == 6).any()
    assert torch.equal(got_index, index)


def test_the_best_of_many_channels_at_once_is_the_best_one_by_one():
    maps = torch.randint(5, (9, 6, 7)).float()  # ties within a chunk and between chunks
    found = []
    for function in (keep_best, keep_best_at_once):
        channel, best = torch.zeros(6, 7, dtype=torch.int64), torch.full((6, 7), float("-inf"))
        for first in (0, 4, 8):
            function(maps[first : first + 4], first, channel, best)
        found.append((channel, best))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert torch.equal(found[1][1], maps.amax(dim=0))


def test_best_per_class():
    maps = torch.rand(4, 3, 5)
    assert best_per_class(maps, None, 4) is maps
    got = best_per_class(maps, (0, 2, 2, 0), 4)
    assert torch.equal(got[0], torch.maximum(maps[0], maps[3])) and torch.equal(got[2], maps[1:3].amax(dim=0))
    assert not got[1].any() and not got[3].any()
