"""Palettes: colours of class ids in pictures and mask files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from semiovs.vocab.colors import voc_color
from semiovs.vocab.default_colors import DEFAULT_COLORS


def voc_palette() -> NDArray[np.uint8]:
    """(256, 3) colours of the VOC devkit (`voc_color`)."""
    return _build_voc_palette().copy()


@cache
def _build_voc_palette() -> NDArray[np.uint8]:
    return np.array([voc_color(index) for index in range(256)], dtype=np.uint8)


def build_palette(colors: Sequence[tuple[int, int, int]] = ()) -> NDArray[np.uint8]:
    """Build a palette (256, 3): the given colours for ids 0.., the default ones for others, VOC's for 255 (ignore)."""
    table = voc_palette()
    shown = [*colors, *DEFAULT_COLORS[len(colors) :]]
    table[: len(shown)] = np.asarray(shown, dtype=np.uint8)
    return table
