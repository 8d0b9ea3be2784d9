"""What a score needs to know of each evaluation image: three areas a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError

Areas = NDArray[np.int64]
Floats = NDArray[np.float64]


def compute_iou(target: Areas, predicted: Areas, hit: Areas) -> Floats:
    """Areas (..., K) -> IoU in percent (..., K), as `evaluation.ConfusionMatrix.iou`; 0 where a class is nowhere."""
    iou: Floats = 100.0 * hit / (target + predicted - hit + 1e-10)
    return iou


@dataclass(frozen=True, eq=False)
class ImageAreas:
    """Pixels of each class in each of N evaluation images, for one trained model.

    ids: names of the images, each once; target, predicted, hit: (N, K) int64, the pixels that are a class in the mask,
    in the prediction, and in both. The IoU of any set of the images follows from their sums.

    Raises:
        DataError: shapes that do not fit, an image twice, no image, or areas that cannot be.
    """

    ids: tuple[str, ...]
    target: Areas
    predicted: Areas
    hit: Areas

    def __post_init__(self) -> None:
        shapes = {self.target.shape, self.predicted.shape, self.hit.shape}
        if len(shapes) > 1 or self.target.ndim != 2 or len(self.target) != len(self.ids):
            found = ", ".join(str(part.shape) for part in (self.target, self.predicted, self.hit))
            raise DataError(f"areas of {len(self.ids)} images: target, predicted and hit are {found}, not (N, K) each")
        if not self.target.size:
            raise DataError("areas without images or classes: nothing was evaluated")
        for name, times in Counter(self.ids).items():
            if times > 1:
                raise DataError(f"image '{name}' was evaluated twice; each image counts once")
        wrong = (self.hit < 0) | (self.hit > self.target) | (self.hit > self.predicted)
        for index in np.flatnonzero(wrong.any(axis=1)):
            raise DataError(f"image '{self.ids[index]}': hits are negative, or more than target or predicted pixels")

    @classmethod
    def from_confusion(
        cls, ids: Sequence[str], counts: NDArray[Any], outside: NDArray[Any] | None = None
    ) -> ImageAreas:
        """Areas of confusion matrices.

        counts: (N, K, K) pixels, row = target class, column = predicted class; outside: (N, K) pixels of each target
        class whose prediction is no class (`ConfusionMatrix.overflow`).
        """
        counts = np.asarray(counts, np.int64)
        if counts.ndim != 3 or counts.shape[1] != counts.shape[2]:
            raise DataError(f"confusion matrices of {len(ids)} images are {counts.shape}, not (N, K, K)")
        if outside is not None and np.shape(outside) != counts.shape[:2]:
            raise DataError(f"pixels outside the classes are {np.shape(outside)}, not {counts.shape[:2]}")
        target = counts.sum(axis=2) + (0 if outside is None else np.asarray(outside, np.int64))
        return cls(tuple(ids), target, counts.sum(axis=1), np.diagonal(counts, axis1=1, axis2=2).copy())

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return int(self.target.shape[1])

    def sort(self) -> ImageAreas:
        """The same areas with the images in the order of their ids."""
        order = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        return ImageAreas(tuple(self.ids[i] for i in order), self.target[order], self.predicted[order], self.hit[order])

    def present(self) -> NDArray[np.bool_]:
        """(K,) whether the class occurs in the masks."""
        return np.asarray((self.target > 0).any(axis=0))

    def iou(self) -> Floats:
        """(K,) intersection over union of all images together, in percent."""
        return compute_iou(self.target.sum(axis=0), self.predicted.sum(axis=0), self.hit.sum(axis=0))

    def miou(self, present_only: bool = False) -> float:
        """Mean IoU in percent, over all K classes (absent ones count 0, as published) or over those in the masks."""
        iou = self.iou()[self.present()] if present_only else self.iou()
        return float(iou.mean()) if iou.size else 0.0
