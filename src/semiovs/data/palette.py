"""Colours of class ids in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def voc_palette() -> NDArray[np.uint8]:
    """(256, 3) colours of the VOC devkit: the bits of an id, lowest first, fill red, green and blue from the highest bit down."""
    ids = np.arange(256)
    colors = np.zeros((256, 3), dtype=np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = (ids >> (3 * level + channel)) & 1
            colors[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return colors


def palette(colors: Sequence[tuple[int, int, int]] = ()) -> NDArray[np.uint8]:
    """(256, 3): the given colours for ids 0.., the VOC colours for all others (255 is ignore)."""
    table = voc_palette()
    if colors:
        table[: len(colors)] = np.asarray(colors, dtype=np.uint8)
    return table
