"""Pixels as an image file holds them: every channel, in its own depth. Nothing is converted to RGB or scaled here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.errors import DataError
from semiovs.images.image import open_file, open_image, read_size
from semiovs.images.orientation import orient_pixels, read_orientation

_CHANNELS = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
#: Classic TIFF and BigTIFF in both byte orders.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Where a PNG's header says how many bits a sample has and what the samples are (behind signature, length, name and two sides).
_PNG_DEPTH, _PNG_KIND = 24, 25
#: PNG's kinds of colour -> channels, in the order of OpenCV's.
_PNG_ORDER = {2: [2, 1, 0], 4: [0, 3], 6: [2, 1, 0, 3]}


@dataclass(frozen=True, eq=False)
class Pixels:
    """values: (H, W, C) of the file's own type, turned as a viewer shows them; nodata: the value of pixels never measured."""

    values: NDArray[Any]
    nodata: float | None = None

    @property
    def channels(self) -> int:
        """C."""
        return int(self.values.shape[2])

    def find_measured(self, planes: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Which values of `planes` are numbers that were measured; None: all of them."""
        finite = None if planes.dtype.kind != "f" else np.isfinite(planes)
        if self.nodata is None or np.isnan(self.nodata):
            return finite
        with np.errstate(over="ignore"):  # -1.8e308 is declared of float32, too: what was written then is infinite
            nodata = np.asarray(self.nodata, planes.dtype if planes.dtype.kind == "f" else np.float64)
        there: NDArray[np.bool_] = planes != nodata
        return there if finite is None else finite & there


def read_pixels(path: Path) -> Pixels:
    """Pixels of a file: gray, gray with alpha, RGB, RGBA, CMYK of 8 or 16 bits; TIFF with any channels (extra `geo`).

    A palette is looked up: its pixels are RGB, or RGBA where it has transparent colours.

    Raises:
        DataError: missing, unreadable, truncated, damaged, or too large; MissingExtraError: a TIFF, and no tifffile.
    """
    if _is_tiff(path):
        from semiovs.images.tiff import read_tiff

        found = read_tiff(path)
        return Pixels(orient_pixels(found.values, found.orientation), found.nodata)
    with open_image(path) as image:
        order = _find_deep_channels(path, image)
        pixels = decode_pixels(image)
        return (
            pixels if order is None else Pixels(orient_pixels(_decode_deep_png(path, order), read_orientation(image)))
        )


def decode_pixels(image: Image.Image) -> Pixels:
    """Pixels of an open Pillow image, turned as its EXIF data say."""
    values = np.asarray(_expand_palette(image))
    if image.mode.startswith("I") and values.size and 0 <= values.min() <= values.max() <= 65535:
        values = values.astype(np.uint16)
    return Pixels(orient_pixels(values if values.ndim == 3 else values[..., None], read_orientation(image)))


def read_shape(path: Path) -> tuple[int, int, int]:
    """(height, width, channels) of what `read_pixels` returns, from the file's header and end.

    Raises:
        DataError, MissingExtraError: as `read_pixels`, but for damage in the middle of a file.
    """
    if _is_tiff(path):
        from semiovs.images.tiff import read_tiff_shape

        return read_tiff_shape(path)
    width, height = read_size(path)
    with open_image(path) as image:
        return height, width, len(_find_deep_channels(path, image) or ()) or _count_channels(image)


def _is_tiff(path: Path) -> bool:
    try:
        with open_file(path) as file:
            return file.read(4) in _TIFF
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read as an image: {error.strerror}") from None


def _find_deep_channels(path: Path, image: Image.Image) -> list[int] | None:
    """Channels of a PNG that has several of 16 bits, which Pillow reads as 8 bits without a word; None for all other files."""
    if image.format != "PNG":
        return None
    with open_file(path) as file:
        header = file.read(_PNG_KIND + 1)
    return _PNG_ORDER.get(header[_PNG_KIND]) if header[_PNG_DEPTH] == 16 else None


def _decode_deep_png(path: Path, order: list[int]) -> NDArray[Any]:
    """By OpenCV, which returns something for damaged files too; Pillow has decoded this one before."""
    with open_file(path) as file:
        values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.shape[2] <= max(order):
        raise DataError(f"{path}: cannot be read as an image: damaged")
    return values[..., order]


def _expand_palette(image: Image.Image) -> Image.Image:
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if _count_channels(image) == 4 else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _count_channels(image: Image.Image) -> int:
    if image.mode in {"P", "PA"}:
        return 4 if image.mode == "PA" or "transparency" in image.info else 3
    return _CHANNELS.get(image.mode, len(image.getbands()))
