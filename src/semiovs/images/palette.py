"""Palettes: colours of class ids in pictures and mask files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from semiovs.vocab.colors import voc_color


def voc_palette() -> NDArray[np.uint8]:
    """(256, 3) colours of the VOC devkit (`voc_color`)."""
    return _build_voc_palette().copy()


@cache
def _build_voc_palette() -> NDArray[np.uint8]:
    return np.array([voc_color(index) for index in range(256)], dtype=np.uint8)


def build_palette(colors: Sequence[tuple[int, int, int]] = ()) -> NDArray[np.uint8]:
    """Build a palette (256, 3): the given colours for ids 0.., the VOC colours for all others (255 is ignore)."""
    table = voc_palette()
    if colors:
        table[: len(colors)] = np.asarray(colors, dtype=np.uint8)
    return table
