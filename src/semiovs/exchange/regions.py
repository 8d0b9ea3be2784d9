"""Labels on their way out: the pieces that a person will see and change."""

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
    """A label to hand out for correction.

    name: file name of the image as the annotation file shall have it; label: (H, W) uint8, 255 = ignore; score: mean confidence,
    if known.
    """

    name: str
    label: NDArray[np.uint8]
    score: float | None = None


def split_classes(label: NDArray[np.uint8], names: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name and mask (H, W) of each value in a label (H, W); 255 is called ``ignore``."""
    values = np.flatnonzero(np.bincount(label.ravel(), minlength=256)).tolist()
    return [(IGNORE_NAME if value == IGNORE else names[value], label == value) for value in values]


def layer_outlines(label: NDArray[np.uint8], names: Sequence[str], tolerance: float) -> list[tuple[str, Points]]:
    """Outlines of all pieces of a label (H, W), each with its class; those that fill more come first.

    Outlines have no holes, so that painted in this order nothing covers what is in one.
    """
    found = [(name, points) for name, mask in split_classes(label, names) for points in trace_outlines(mask, tolerance)]
    height, width = label.shape
    return sorted(found, key=lambda item: -int(fill_polygon(item[1], height, width).sum()))
