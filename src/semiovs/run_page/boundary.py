"""Boundary IoU: IoU of the pixels near the contours alone (Cheng et al. 2021, arXiv 2103.16562, eq. 2)."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from semiovs.images.conventions import IGNORE

#: Width of the bands along contours, as a part of the image's diagonal: the one of the paper.
BAND = 0.02

Labels = NDArray[np.uint8]
Ints = NDArray[np.int64]


def choose_width(height: int, width: int) -> int:
    """Width of the band in an image, pixels, at least 1."""
    return max(1, round(BAND * math.hypot(height, width)))


def find_band(labels: Labels, width: int) -> NDArray[np.bool_]:
    """(H, W) whether a pixel is less than `width` + 1 rows and columns away from one of another class, or from the
    outside of the image.
    """
    side = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    band: NDArray[np.bool_] = np.asarray(cv2.erode(labels, side) != cv2.dilate(labels, side))
    for edge in (band, band.T):
        edge[:width] = edge[-width:] = True
    return band


def count_overlap(truth: Labels, predicted: Labels, classes: int) -> Ints:
    """(3, K) pixels of each class in `truth`, in `predicted`, and in both; 255 counts nowhere."""
    common = np.where(truth == predicted, truth, IGNORE)
    return np.stack([np.bincount(ids.ravel(), minlength=256)[:classes] for ids in (truth, predicted, common)])


def count_areas(truth: Labels, predicted: Labels, classes: int) -> tuple[Ints, Ints]:
    """Overlap (`count_overlap`) of whole classes, and of their bands, over the pixels where both are known.

    What is not known (255) bounds both alike, so that a prediction that is right wherever there is a truth scores 100.
    """
    known = (truth != IGNORE) & (predicted != IGNORE)
    pair = [np.where(known, ids, np.uint8(IGNORE)).astype(np.uint8) for ids in (truth, predicted)]
    width = choose_width(*truth.shape)
    bands = [np.where(find_band(ids, width), ids, np.uint8(IGNORE)) for ids in pair]
    return count_overlap(pair[0], pair[1], classes), count_overlap(bands[0], bands[1], classes)


def compute_iou(overlap: Ints) -> NDArray[np.float64]:
    """(K,) IoU in percent of sums of `count_overlap`; NaN for a class that the masks do not show."""
    truth, predicted, common = overlap
    with np.errstate(invalid="ignore"):
        return np.where(truth > 0, 100 * common / np.maximum(truth + predicted - common, 1), np.nan)
