"""An endless shuffled stream that can start anywhere and that any number of processes share."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class ResumableTrainingSampler(Sampler):
    """Yields (number of the draw, index into the dataset) for one of several processes.

    All processes walk one stream: permutation after permutation of the dataset, each seeded with (seed, epoch).
    Process r of W takes draws r, r + W, r + 2W, ..., so the i-th global batch holds draws i * B .. (i + 1) * B - 1
    whatever W is. Detectron2's sampler starts the stream again on resume; this one starts at a given draw.
    """

    def __init__(self, size: int, *, seed: int, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        """Fixes the stream.

        Args:
            size: number of samples in the dataset.
            seed: of the shuffle, non-negative, the same in all processes.
            start: global number of the first draw; a multiple of the global batch size.
            rank: this process.
            world_size: number of processes, W.

        Raises:
            ValueError: an empty dataset, or a negative start or seed.
        """
        if size <= 0:
            raise ValueError(f"size: got {size}, expected at least one training sample")
        if start < 0 or seed < 0:
            raise ValueError(f"start and seed: got {start} and {seed}, expected at least 0")
        self._size = size
        self._seed = seed
        self._start = start
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = -1, None
        draw = self._start + self._rank
        while True:
            if draw // self._size != epoch:
                epoch = draw // self._size
                order = np.random.default_rng((self._seed, epoch)).permutation(self._size)
            yield draw, int(order[draw % self._size])
            draw += self._world_size
