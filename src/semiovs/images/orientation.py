"""EXIF orientation: how a viewer turns and mirrors the stored pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Tag of the orientation, in EXIF data and TIFF files.
ORIENTATION = 0x0112

_Transpose = Image.Transpose
#: Orientation -> transposition for Pillow; for arrays: whether rows and columns are swapped, then the steps along both.
_TURNS = {
    2: (_Transpose.FLIP_LEFT_RIGHT, False, 1, -1),
    3: (_Transpose.ROTATE_180, False, -1, -1),
    4: (_Transpose.FLIP_TOP_BOTTOM, False, -1, 1),
    5: (_Transpose.TRANSPOSE, True, 1, 1),
    6: (_Transpose.ROTATE_270, True, 1, -1),
    7: (_Transpose.TRANSVERSE, True, -1, -1),
    8: (_Transpose.ROTATE_90, True, -1, 1),
}


def valid_orientation(turn: int) -> int:
    """Return the orientation, or 1 if the number is not valid."""
    return turn if turn in _TURNS else 1


def read_orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8; damaged EXIF data count as 1."""
    try:
        return valid_orientation(int(image.getexif().get(ORIENTATION, 1)))
    except Exception:
        return 1


def orient_image(image: Image.Image, turn: int) -> Image.Image:
    """Turn an image as a viewer shows it."""
    return image.transpose(_TURNS[turn][0]) if turn in _TURNS else image


def orient_pixels(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Turn pixels (H, W, ...) as a viewer shows them; returns a view of the same memory."""
    if turn not in _TURNS:
        return pixels
    _, swap, down, across = _TURNS[turn]
    return (np.swapaxes(pixels, 0, 1) if swap else pixels)[::down, ::across]
