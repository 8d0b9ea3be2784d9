"""The order of the images of a stream, as a pure function of (seed, stream, position)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semiovs.data.draws import item_seed


class StreamItem(NamedTuple):
    """An image of a stream. epoch: the pass over the manifest that it is drawn in; item: its number in the manifest."""

    epoch: int
    item: int


@dataclass(frozen=True)
class StreamSampler:
    """Endless shuffled passes over `length` images, cut into batches of `batch_size` a rank.

    Position p lies in pass p // length; each pass has its own permutation of (seed, name, pass). Micro-step k of
    `world_size` ranks takes positions [k·G, (k+1)·G), G = batch_size · world_size, and rank r the r-th slice of them,
    so the global order does not depend on how many ranks share a global batch.
    """

    length: int
    batch_size: int
    seed: int
    name: str
    _passes: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def locate(self, position: int) -> StreamItem:
        """Image at a position."""
        epoch, offset = divmod(position, self.length)
        return StreamItem(epoch, int(self._shuffle(epoch)[offset]))

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> list[StreamItem]:
        """Images of one rank at micro-step `step`."""
        return [self.locate(position) for position in self.positions(step, rank, world_size)]

    def positions(self, step: int, rank: int = 0, world_size: int = 1) -> range:
        """Positions of one rank at micro-step `step`."""
        start = (step * world_size + rank) * self.batch_size
        return range(start, start + self.batch_size)

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._passes:
            for old in [known for known in self._passes if known < epoch - 1 or known > epoch + 1]:
                self._passes.pop(old, None)
            generator = np.random.Generator(np.random.PCG64(item_seed(self.seed, f"order/{self.name}", epoch, 0)))
            self._passes[epoch] = generator.permutation(self.length)
        return self._passes[epoch]


@dataclass(frozen=True)
class PartnerSampler:
    """CutMix partners from an independent shuffle: the i-th one is never the same image as the i-th of
    `partners_of`.
    """

    sampler: StreamSampler
    partners_of: StreamSampler

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> list[StreamItem]:
        """Images of one rank at micro-step `step`; needs at least two images."""
        places = []
        for position in self.sampler.positions(step, rank, world_size):
            epoch, item = self.sampler.locate(position)
            if item == self.partners_of.locate(position).item:
                item = (item + 1) % self.sampler.length
            places.append(StreamItem(epoch, item))
        return places
