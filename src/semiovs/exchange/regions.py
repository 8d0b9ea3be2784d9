"""Split labels into masks and outlines of single classes, for export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.exchange.annotations import IGNORE_NAME
from semiovs.exchange.polygons import Points, fill_polygon, trace_outlines
from semiovs.images.conventions import IGNORE


@dataclass(frozen=True, eq=False)
class ExportLabel:
    """A label to export.

    name: file name of the image as the annotation file shall have it; label: (H, W) uint8, 255 = ignore; score: mean
    confidence, if known.
    """

    name: str
    label: NDArray[np.uint8]
    score: float | None = None


def split_classes(label: NDArray[np.uint8], names: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Split a label (H, W) into the name and mask (H, W) of each class in it; 255 is called ``ignore``."""
    values = np.flatnonzero(np.bincount(label.ravel(), minlength=256)).tolist()
    return [(IGNORE_NAME if value == IGNORE else names[value], label == value) for value in values]


def layer_outlines(label: NDArray[np.uint8], names: Sequence[str], tolerance: float) -> list[tuple[str, Points]]:
    """Trace the outlines of all pieces of a label (H, W), each with its class, the largest first.

    Outlines have no holes; in this order, smaller pieces inside of larger ones stay visible.
    """
    found = [(name, points) for name, mask in split_classes(label, names) for points in trace_outlines(mask, tolerance)]
    height, width = label.shape
    return sorted(found, key=lambda item: -int(fill_polygon(item[1], height, width).sum()))
