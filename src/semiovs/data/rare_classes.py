"""Rare classes of labelled images: crops that show them, and regions of them that are pasted on other images.

Both draw a class by inverse frequency among the rare ones that a mask shows, in the spirit of DAFormer's rare class
sampling (Hoyer et al. 2022); where it shows none, everything stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiovs.data.batch import Labeled
from semiovs.data.draws import ItemDraws
from semiovs.data.transforms import Geometry


@dataclass(frozen=True)
class RareClasses:
    """rarity: of each class the inverse of its share of the labelled pixels, 0 for classes that are not rare.

    crops: share of the labelled images whose crop is placed on a pixel of a rare class; paste: share of them that a
    region is pasted on.
    """

    rarity: tuple[float, ...]
    crops: float = 0.0
    paste: float = 0.0

    @classmethod
    def of(cls, pixels: Sequence[int], *, crops: float | None = None, paste: float | None = None) -> Self:
        """Rare are classes with fewer labelled pixels than the mean of those that have some. pixels: of each class."""
        total, there = sum(pixels), sum(n > 0 for n in pixels)
        rarity = tuple(total / n if 0 < n * there < total else 0.0 for n in pixels)
        return cls(rarity, crops or 0.0, paste or 0.0)

    def draw_class(self, labels: NDArray[np.uint8], draws: ItemDraws) -> int | None:
        """A rare class of those in `labels` (H, W), by inverse frequency; None, and nothing is drawn, without one."""
        there = np.bincount(labels.ravel(), minlength=256)[: len(self.rarity)] > 0
        ends = np.cumsum(np.where(there, self.rarity, 0.0))
        if not ends[-1]:
            return None
        return int(np.searchsorted(ends, draws.uniform(0, ends[-1]), side="right"))

    def choose_window(self, mask: NDArray[np.uint8], geometry: Geometry, draws: ItemDraws) -> Geometry:
        """In a share of the cases `geometry` with another position: one of those that show some pixel of a rare class.

        The pixel is any of that class in the mask (H, W) of the whole image, the position any that shows it. (Patches
        that are forced to show a class, with a third of a batch, are nnU-Net's, Isensee et al. 2021.)
        """
        if not self.crops or draws.chance() >= self.crops or (rare := self.draw_class(mask, draws)) is None:
            return geometry
        pixels = np.flatnonzero(mask == rare)
        row, column = divmod(int(pixels[draws.below(len(pixels))]), mask.shape[1])
        x = _draw_start((column + 0.5) / mask.shape[1], geometry.size[0], geometry.crop, draws)
        y = _draw_start((row + 0.5) / mask.shape[0], geometry.size[1], geometry.crop, draws)
        return replace(geometry, x=x, y=y)

    def paste_regions(self, items: Sequence[Labeled], draws: ItemDraws) -> list[Labeled]:
        """Paste on a share of the items all pixels that a rare class has in the item before, at the same place.

        Image, mask and strong views change alike (Ghiasi et al. 2021). Ignored pixels belong to no class.
        """
        pasted = []
        for item, other in zip(items, (*items[-1:], *items[:-1]), strict=True):
            chosen = draws.chance() < self.paste and other is not item
            rare = self.draw_class(other.mask.numpy(), draws) if chosen else None
            pasted.append(item if rare is None else _paste_class(item, other, rare))
        return pasted


def _draw_start(place: float, side: int, crop: int, draws: ItemDraws) -> int:
    """Where a crop begins on an axis of `side` pixels that shows what lies at `place`, a share of the axis."""
    pixel = int(place * side)
    return draws.integer(max(pixel - crop + 1, 0), min(pixel, max(side, crop) - crop))


def _paste_class(item: Labeled, other: Labeled, label: int) -> Labeled:
    region = other.mask.numpy() == label

    def paste(a: Tensor, b: Tensor) -> Tensor:  # by numpy: torch has no `where` of 16-bit bands in all versions
        return torch.from_numpy(np.where(region, b.numpy(), a.numpy())) if a.ndim > 1 else a

    strong = tuple(paste(a, b) for a, b in zip(item.strong, other.strong, strict=True))
    return replace(item, image=paste(item.image, other.image), mask=paste(item.mask, other.mask), strong=strong)
