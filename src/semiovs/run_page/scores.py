"""Scores of classes and images, from the counts of each evaluation image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from semiovs.evaluation import ImageCounts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, in percent; NaN for empty denominators.

    precision: share of the pixels called it that are it; recall: share of its pixels that were called it; share: of the
    known pixels; pixels, images: of the masks that show it.
    """

    name: str
    iou: float
    precision: float
    recall: float
    share: float
    pixels: int
    images: int


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that were called another; share: of the class's pixels, in percent."""

    truth: str
    called: str
    pixels: int
    share: float


@dataclass(frozen=True)
class ImageScores:
    """Scores of an evaluation, by class and by image."""

    counts: ImageCounts
    names: Sequence[str]

    @cached_property
    def confusion(self) -> Ints:
        """(K, K + 1) pixels: row = class in the masks, column = predicted class, the last one none of them."""
        classes = self.counts.num_classes
        dense = np.zeros((classes, classes + 1), np.int64)
        _, target, predicted, pixels = self.counts.entries.T
        np.add.at(dense, (target, predicted), pixels)
        return dense

    @cached_property
    def classes(self) -> list[ClassScore]:
        """Scores of each class."""
        target, predicted = self.confusion.sum(1), self.confusion[:, :-1].sum(0)
        hit, images = np.diagonal(self.confusion), (self.counts.areas()[0] > 0).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou, precision = 100 * hit / (target + predicted - hit), 100 * hit / predicted
            recall, share = 100 * hit / target, 100 * target / target.sum()
        return [
            ClassScore(
                name,
                float(iou[k]),
                float(precision[k]),
                float(recall[k]),
                float(share[k]),
                int(target[k]),
                int(images[k]),
            )
            for k, name in enumerate(self.names)
        ]

    @cached_property
    def miou(self) -> float:
        """Mean IoU over all classes, in percent; a class that is nowhere counts 0, as published."""
        return float(_mean_iou(*(part.sum(0) for part in self.counts.areas())))

    @cached_property
    def miou_margin(self) -> float:
        """Half of the 95 % interval of `miou` over other images of this kind: delete-one jackknife with Student's t.
        NaN for a single image. How much other trainings would differ is not in it.
        """
        from scipy.special import stdtrit

        areas, images = self.counts.areas(), len(self.counts.ids)
        if images < 2:
            return float("nan")
        without = _mean_iou(*(part.sum(0) - part for part in areas))
        error = np.sqrt((images - 1) / images * np.square(without - without.mean()).sum())
        return float(stdtrit(images - 1, 0.975) * error)

    def list_confusions(self, most: int) -> list[Confusion]:
        """The pairs of classes that most pixels were confused in, the largest first."""
        wrong = self.confusion[:, :-1].copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        total = self.confusion.sum(1)
        return [
            Confusion(self.names[t], self.names[p], int(wrong[t, p]), 100 * float(wrong[t, p] / total[t]))
            for t, p in pairs
            if wrong[t, p]
        ]

    @cached_property
    def by_image(self) -> dict[str, float]:
        """Image -> mean IoU in percent over the classes in its mask; images whose mask is all ignored are left out."""
        target, predicted, hit = self.counts.areas()
        iou = 100 * hit / np.maximum(target + predicted - hit, 1)
        present = target > 0
        return {name: float(iou[i][present[i]].mean()) for i, name in enumerate(self.counts.ids) if present[i].any()}

    def choose_examples(self, worst: int, others: int) -> dict[str, list[str]]:
        """Images to show: the `worst` ones, and `others` each that are typical (around the median) and best.

        No image is in two groups.
        """
        order = sorted(self.by_image, key=lambda name: (self.by_image[name], name))
        low, rest = order[:worst], order[worst:]
        high = rest[::-1][:others]
        rest = rest[: len(rest) - len(high)]
        median = len(order) // 2 - len(low)
        start = max(0, min(median - others // 2, len(rest) - others))
        return {"worst": low, "typical": rest[start : start + others], "best": high}


def _mean_iou(target: Ints, predicted: Ints, hit: Ints) -> Floats:
    """Areas (..., K) -> mean over classes (...), in percent."""
    mean: Floats = (100 * hit / np.maximum(target + predicted - hit, 1)).mean(axis=-1)
    return mean
