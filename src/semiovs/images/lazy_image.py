"""RGB images that are decoded when their pixels are asked for, JPEG files on a smaller scale where that is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.images.image import open_image, read_image
from semiovs.images.orientation import orient_pixels, read_orientation

RgbArray = NDArray[np.uint8]

#: By how much a JPEG decoder can divide the sides of an image at little cost, largest first.
_DIVISORS = (8, 4, 2)


@dataclass(frozen=True, eq=False)
class LazyImage:
    """An RGB image as a viewer shows it; size: (width, height).

    decode: how much smaller the pixels may be, at most -> pixels (H, W, 3), and by what their sides are divided
    (rounded up): 1, or if `reducible` (a JPEG file) 2, 4 or 8.
    """

    size: tuple[int, int]
    decode: Callable[[float], tuple[RgbArray, int]]
    reducible: bool = False

    @property
    def width(self) -> int:
        """Columns."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Rows."""
        return self.size[1]


def read_lazily(path: Path) -> LazyImage:
    """Read the size of an image, and the bytes of a JPEG file of colours; its pixels are those of `read_image`.

    simplejpeg decodes JPEG files into the array, without Pillow's copies; what it refuses, Pillow decodes as ever.

    Raises:
        DataError: as `read_image`; of damage inside a file not before it is decoded.
    """
    with open_image(path) as image:
        turn = read_orientation(image)
        size = (image.height, image.width) if turn >= 5 else image.size
        if image.format not in {"JPEG", "MPO"} or image.mode != "RGB":
            return LazyImage(size, lambda _: (np.asarray(read_image(path)), 1))
        file: Any = image.fp  # type: ignore[attr-defined]
        file.seek(0)
        data: bytes = file.read()
    return LazyImage(size, lambda most: _decode_jpeg(path, data, turn, most), reducible=True)


def _decode_jpeg(path: Path, data: bytes, turn: int, most: float) -> tuple[RgbArray, int]:
    import simplejpeg

    divisor = next((d for d in _DIVISORS if d <= most), 1)
    try:
        if divisor == 1:
            return orient_pixels(simplejpeg.decode_jpeg(data, "RGB"), turn), 1
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        sides = {"min_height": -(-height // divisor), "min_width": -(-width // divisor), "min_factor": divisor}
        return orient_pixels(simplejpeg.decode_jpeg(data, "RGB", **sides), turn), divisor
    except ValueError:  # damaged, or of a kind that it does not know
        return np.asarray(read_image(path)), 1
