"""What is kept of a labelled image: the features of its cells by class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semiovs.ovs.labeled_image import LabeledImage

Floats = NDArray[np.float32]

#: Cells of each class, and of all, that are kept of an image at most.
_OF_CLASS, _OF_ALL = 64, 256


@dataclass(frozen=True)
class ImageCells:
    """The cells of one image, C features each, for K classes.

    unit: as in `LabeledImage`; digest: SHA-256 of image and mask; cells, sum, square: number of cells, and sums (C,) of
    their features and of the squares; covered: (K,) cells that each class covers, in parts of cells; weighted: (K, C)
    sum of the features, weighted by the part that the class covers; of_class: class -> (n, C) features of cells that it
    covers most; drawn, shares: (m, C) features of cells from all over the image, and the parts (m, K) of the classes.
    """

    id: str
    unit: str
    digest: bytes
    cells: int
    sum: NDArray[np.float64]
    square: NDArray[np.float64]
    covered: NDArray[np.float64]
    weighted: NDArray[np.float64]
    of_class: dict[int, Floats]
    drawn: Floats
    shares: Floats


def collect_cells(labeled: LabeledImage, image: Tensor, mask: Tensor, features: Tensor, classes: int) -> ImageCells:
    """What is kept of an image (3, H, W) with the mask (H, W) and the features (C, h, w)."""
    size = (features.shape[-2], features.shape[-1])
    parts = share_out(mask, classes, size).flatten(1).numpy()
    rows = features.float().cpu().flatten(1).T.numpy()
    exact = rows.astype(np.float64)
    known = np.flatnonzero(parts.sum(axis=0) > 0)
    drawn = known[_spread(len(known), _OF_ALL)]
    return ImageCells(
        labeled.id,
        labeled.unit,
        hashlib.sha256(image.numpy().tobytes() + mask.numpy().tobytes()).digest(),
        len(rows),
        exact.sum(axis=0),
        np.square(exact).sum(axis=0),
        parts.sum(axis=1, dtype=np.float64),
        parts.astype(np.float64) @ exact,
        {k: rows[_choose(parts[k])] for k in range(classes) if parts[k].any()},
        rows[drawn],
        parts[:, drawn].T.copy(),
    )


def _choose(part: Floats) -> NDArray[np.int64]:
    """Cells that a class covers at least half as much as the one that it covers most; thin objects fill none."""
    cells = np.flatnonzero(part >= part.max() / 2)
    return cells[_spread(len(cells), _OF_CLASS)]


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many places among `count`, evenly spread."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)


def share_out(mask: Tensor, classes: int, size: tuple[int, int]) -> Tensor:
    """Mask (H, W) uint8 -> part (K, h, w) of each cell's pixels that each class covers; ignored pixels are nobody's."""
    parts = torch.zeros((classes, *size))
    for k in np.unique(mask.numpy()).tolist():
        if k < classes:
            parts[k] = F.adaptive_avg_pool2d((mask == k)[None].float(), size)[0]
    return parts
