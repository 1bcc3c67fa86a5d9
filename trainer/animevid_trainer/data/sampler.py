"""Defines the order of samples by pure functions of (seed, sample number): one integer is the whole position.

Sample number ``n`` of a stream (photos, art) belongs to epoch ``n // count`` and is that epoch's permutation at
``n % count``; the random numbers for its crop come from a counter-based generator keyed by (seed, stream, n). So the
data of step 1000 does not depend on the run's history, prefetching or the number of processes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def _generator(seed: int, stream: str, kind: int, number: int) -> np.random.Generator:
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, (zlib.crc32(stream.encode()) << 8) | kind], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, number, 0]))


@dataclass
class SeededSampler:
    """Indices into one set of ``count`` images, shuffled anew each epoch, split over processes without overlap.

    ``batch`` is the global batch size: each process takes its ``batch / world`` samples of one global batch, so a run
    sees the same data with any number of processes. ``position`` (samples drawn so far by all processes) is the
    complete state.
    """

    count: int
    batch: int
    seed: int
    stream: str
    rank: int = 0
    world: int = 1
    position: int = 0
    _order: tuple[int, NDArray[np.int64]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"{self.count} images: a sampler needs at least one image")

    @property
    def epoch(self) -> int:
        return self.position // self.count

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of ``epoch``."""
        self.position = epoch * self.count

    def index_of(self, number: int) -> int:
        """Return the index of the image of sample ``number``."""
        epoch, offset = divmod(number, self.count)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, _generator(self.seed, self.stream, 0, epoch).permutation(self.count))
        return int(self._order[1][offset])

    def random_of(self, number: int) -> np.random.Generator:
        """Return the random generator of sample ``number``."""
        return _generator(self.seed, self.stream, 1, number)

    def random_of_crop(self, index: int, crop: int) -> np.random.Generator:
        """Return the random generator of the ``crop``-th fixed crop of image ``index``."""
        return _generator(self.seed, self.stream, 2, (index << 20) | crop)

    def draw(self) -> list[int]:
        """Return this process's sample numbers of the next global batch.

        Raises:
            ValueError: the batch cannot be split evenly over the processes.
        """
        if self.batch % self.world:
            raise ValueError(f"a batch of {self.batch} cannot be split over {self.world} processes")
        share = self.batch // self.world
        first = self.position + self.rank * share
        self.position += self.batch
        return list(range(first, first + share))

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            yield self.draw()

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = int(state["position"])
