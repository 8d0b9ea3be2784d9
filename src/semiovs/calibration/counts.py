"""Pixel counts of a teacher's answers on labelled images, by image, predicted class, true class and score level.

Calibration works on these counts alone, so that no pixels are kept, and thresholds, folds and candidates are evaluated
without running the teacher again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE

#: Scores in [0, 1] are rounded to levels 0..255, as in stores, so that results are the same before and after storing.
LEVELS = 256

Counts = NDArray[np.int64]


def quantize_scores(score: NDArray[Any], where: str = "scores") -> NDArray[np.uint8]:
    """Quantise scores (H, W) in [0, 1] to uint8 levels; uint8 input is returned unchanged.

    Raises:
        DataError: NaN, or outside [0, 1].
    """
    if score.dtype == np.uint8:
        return score
    if np.isnan(score).any():
        raise DataError(
            f"{where}: the teacher's scores hold NaN; there is something wrong with its weights or precision"
        )
    if score.size and not 0 <= float(score.min()) <= float(score.max()) <= 1:
        raise DataError(
            f"{where}: the teacher's scores lie in [{score.min():.3g}, {score.max():.3g}], not within [0, 1]"
        )
    found: NDArray[np.uint8] = np.rint(score.astype(np.float32) * 255.0).astype(np.uint8)
    return found


def find_percentile(counts: Counts, share: float = 0.99) -> Counts:
    """Counts by level (..., 256) -> the level (...) that a `share` of the pixels does not exceed; 0 without pixels."""
    below = counts.cumsum(axis=-1)
    found: Counts = (below < share * below[..., -1:]).sum(axis=-1)
    return found


@dataclass(frozen=True)
class ImageCounts:
    """Counts of one image. keys: (predicted · (K + 1) + true) · 256 + level, ascending, K = ignored; counts: pixels."""

    id: str
    keys: NDArray[np.int32]
    counts: NDArray[np.int32]


@dataclass(frozen=True)
class ClassCounts:
    """Pixels predicted as one class, by level, in the images that have any.

    images: (n,) index of the image; right, wrong, void: (n, 256), void where the truth is unknown; area: (n,) pixels of
    the image whose truth is known.
    """

    images: Counts
    right: Counts
    wrong: Counts
    void: Counts
    area: Counts

    @property
    def presence(self) -> Counts:
        """(n,) confidence that the class is in the image: the 99th percentile of its levels."""
        return find_percentile(self.right + self.wrong + self.void)

    def with_truth(self) -> ClassCounts:
        """The subset of images with a pixel of the class whose truth is known."""
        some = (self.right + self.wrong).any(axis=1)
        return ClassCounts(*(part[some] for part in (self.images, self.right, self.wrong, self.void, self.area)))


class ScoreCounts:
    """Counts of a list of images for K classes; `add` appends an image."""

    def __init__(self, classes: int, images: Sequence[ImageCounts] = ()) -> None:
        self.classes = classes
        self.images = list(images)

    def __len__(self) -> int:
        return len(self.images)

    def add(self, name: str, label: NDArray[np.uint8], score: NDArray[Any], truth: NDArray[np.uint8]) -> None:
        """Count an image: label and truth (H, W) uint8 with 255 = ignore, score (H, W) in [0, 1] (or uint8 levels).

        Raises:
            DataError: different shapes, or values that are no class or score.
        """
        if not label.shape == score.shape == truth.shape:
            raise DataError(
                f"image '{name}': label {label.shape}, score {score.shape} and mask {truth.shape} differ in size"
            )
        side = self.classes + 1
        index = self._map_ignored(name, label).astype(np.int32) * side + self._map_ignored(name, truth)
        keys, counts = np.unique(index * LEVELS + quantize_scores(score, f"image '{name}'"), return_counts=True)
        self.images.append(ImageCounts(name, keys.astype(np.int32), counts.astype(np.int32)))
        self.__dict__.pop("table", None)

    def subset(self, indices: Sequence[int]) -> ScoreCounts:
        """The counts of some images."""
        return ScoreCounts(self.classes, [self.images[i] for i in indices])

    @cached_property
    def table(self) -> CountTable:
        """All counts as a table of columns."""
        keys = np.concatenate([image.keys for image in self.images] or [np.zeros(0, np.int32)]).astype(np.int64)
        counts = np.concatenate([image.counts for image in self.images] or [np.zeros(0, np.int32)]).astype(np.int64)
        of = np.repeat(np.arange(len(self.images)), [len(image.keys) for image in self.images])
        pair, level = np.divmod(keys, LEVELS)
        label, truth = np.divmod(pair, self.classes + 1)
        return CountTable(self.classes, len(self), of, label, truth, level, counts)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of ids and counts, the data of a fit."""
        digest = hashlib.sha256(f"{self.classes};".encode())
        for image in self.images:
            digest.update(f"{image.id};".encode() + image.keys.tobytes() + image.counts.tobytes())
        return digest.hexdigest()[:16]

    def _map_ignored(self, name: str, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Ids with K for ignored."""
        strange = ids[(ids >= self.classes) & (ids != IGNORE)]
        if strange.size:
            raise DataError(f"image '{name}': value {strange[0]} is no class of 0..{self.classes - 1}")
        return np.where(ids == IGNORE, np.uint8(self.classes), ids)


@dataclass(frozen=True)
class CountTable:
    """One row for each (image, predicted, true, level) that occurs; columns (rows,) int64, K = ignored."""

    classes: int
    images: int
    image: Counts
    label: Counts
    truth: Counts
    level: Counts
    count: Counts

    @cached_property
    def area(self) -> Counts:
        """(images,) pixels of each image whose truth is known."""
        known = self.truth < self.classes
        return np.bincount(self.image[known], self.count[known], self.images).astype(np.int64)

    @cached_property
    def _by_label(self) -> Counts:
        return np.argsort(self.label, kind="stable")

    def select_class(self, k: int) -> ClassCounts:
        """The pixels that were predicted as class `k`."""
        order = self.label[self._by_label]
        return self._counts(self._by_label[np.searchsorted(order, k) : np.searchsorted(order, k, "right")])

    def select_all_classes(self) -> ClassCounts:
        """The pixels of every predicted class together."""
        return self._counts(np.flatnonzero(self.label < self.classes))

    def confusion(self, kept: NDArray[np.bool_] | None = None) -> Counts:
        """(K, K + 1) pixels: row = true class, column = predicted class; last column: no prediction, or not `kept`."""
        column = self.label if kept is None else np.where(kept, self.label, self.classes)
        known = self.truth < self.classes
        side = self.classes + 1
        cells = np.bincount((self.truth * side + column)[known], self.count[known], self.classes * side)
        return cells.astype(np.int64).reshape(self.classes, side)

    def _counts(self, rows: Counts) -> ClassCounts:
        images, place = np.unique(self.image[rows], return_inverse=True)
        label, truth, cell = self.label[rows], self.truth[rows], place * LEVELS + self.level[rows]

        def by_level(part: NDArray[np.bool_]) -> Counts:
            cells = np.bincount(cell[part], self.count[rows][part], len(images) * LEVELS)
            return cells.astype(np.int64).reshape(len(images), LEVELS)

        known = truth < self.classes
        right = by_level(truth == label)
        return ClassCounts(images, right, by_level((truth != label) & known), by_level(~known), self.area[images])
