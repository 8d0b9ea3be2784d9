"""Pool concept maps to classes: a few maps at a time are resized, and only the running maximum is kept.

A class owns one or more concepts; its score at a pixel is the maximum over their maps *at full size*. Taking the
maximum before the resize is cheaper and gives other labels, because the two do not commute (SED spec, section 9, row
10).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import DataError
from semiovs.vocab.vocabulary import check_channels

#: Concepts that are held at full size at once.
CHUNK = 16


@dataclass(frozen=True)
class ConceptPooling:
    """Pools the maps of concepts to the scores of their classes.

    owners: class id of each concept, ascending; classes: K; background: constant score of class 0, which then needs no
    concept.
    """

    owners: Sequence[int]
    classes: int
    background: float | None = None

    def scores(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Concept maps (T, h, w) in [0, 1] -> class scores (K, *size): the maximum over each class's concepts."""
        pooled = maps.new_zeros((self.classes, *size))
        if self.background is not None:
            pooled[0] = self.background
        for first, part in self._resize_chunks(maps, size):
            for offset, full in enumerate(part):
                owner = self.owners[first + offset]
                torch.maximum(pooled[owner], full, out=pooled[owner])
        return pooled

    def label(self, maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Concept probabilities (T, h, w) -> label (*size) uint8 and its score (*size); the lowest class wins a tie."""
        best = maps.new_full(size, -1.0 if self.background is None else self.background)
        winner = torch.zeros(size, dtype=torch.long, device=maps.device)
        owners = torch.tensor(list(self.owners), device=maps.device)
        for first, part in self._resize_chunks(maps, size):
            score, concept = part.max(dim=0)
            better = score > best
            best = score.where(better, best)
            winner = owners[concept + first].where(better, winner)
        return winner.to(torch.uint8), best

    def _resize_chunks(self, maps: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
        """First concept and full-size maps of each chunk."""
        check_channels(len(maps), len(self.owners), "teacher")
        if not bool(torch.isfinite(maps).all()):  # a comparison with NaN would silently give the first class
            raise DataError(
                "the teacher's answer holds NaN or infinity; try --set precision=fp32, or check its weights"
            )
        for first in range(0, len(maps), CHUNK):
            part = maps[None, first : first + CHUNK]
            full = F.interpolate(part, size=size, mode="bilinear", align_corners=False)[0]
            yield first, full.clamp_(0, 1)  # rounding in the resize may exceed 1 by a hair
