"""Read all channels of an image file in their own depth, without converting to RGB or scaling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.errors import DataError
from semiovs.images.file_names import make_missing_error
from semiovs.images.image import open_file, open_image, read_size
from semiovs.images.orientation import orient_pixels, read_orientation

_CHANNELS = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
#: Classic TIFF and BigTIFF in both byte orders.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Positions of bit depth and colour type in a PNG file.
_PNG_DEPTH, _PNG_KIND = 24, 25
#: Colour type of a PNG -> order of the channels that OpenCV returns.
_PNG_ORDER = {2: [2, 1, 0], 4: [0, 3], 6: [2, 1, 0, 3]}


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels of an image. values: (H, W, C) in the file's type, oriented; nodata: value of pixels that were not
    measured.
    """

    values: NDArray[Any]
    nodata: float | None = None

    @property
    def channels(self) -> int:
        """Number of channels, C."""
        return int(self.values.shape[2])

    def find_measured(self, planes: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Find the values of `planes` that are finite and not `nodata`; None: all of them."""
        finite = None if planes.dtype.kind != "f" else np.isfinite(planes)
        if self.nodata is None or np.isnan(self.nodata):
            return finite
        with np.errstate(over="ignore"):  # -1.8e308 is declared of float32, too: what was written then is infinite
            nodata = np.asarray(self.nodata, planes.dtype if planes.dtype.kind == "f" else np.float64)
        there: NDArray[np.bool_] = planes != nodata
        return there if finite is None else finite & there


def read_pixels(path: Path) -> Pixels:
    """Read the pixels of a file: gray, gray with alpha, RGB, RGBA, CMYK of 8 or 16 bits; TIFF with any channels (extra
    `geo`).

    Palettes are looked up: their pixels are RGB, or RGBA if there are transparent colours.

    Raises:
        DataError: missing, unreadable, truncated, damaged, or too large; MissingExtraError: a TIFF, and no tifffile.
    """
    if is_tiff(path):
        from semiovs.images.tiff import read_tiff

        found = read_tiff(path)
        return Pixels(orient_pixels(found.values, found.orientation), found.nodata)
    with open_image(path) as image:
        order = find_deep_channels(path, image)
        pixels = decode_pixels(image)
        return pixels if order is None else Pixels(orient_pixels(decode_deep_png(path, order), read_orientation(image)))


def decode_pixels(image: Image.Image) -> Pixels:
    """Read the pixels of an open Pillow image, oriented by its EXIF data."""
    values = np.asarray(_expand_palette(image))
    if image.mode.startswith("I") and values.size and 0 <= values.min() <= values.max() <= 65535:
        values = values.astype(np.uint16)
    return Pixels(orient_pixels(values if values.ndim == 3 else values[..., None], read_orientation(image)))


def read_shape(path: Path) -> tuple[int, int, int]:
    """Read (height, width, channels) of what `read_pixels` returns, from the header and end of the file.

    Raises:
        DataError, MissingExtraError: as `read_pixels`, but for damage in the middle of a file.
    """
    if is_tiff(path):
        from semiovs.images.tiff import read_tiff_shape

        return read_tiff_shape(path)
    width, height = read_size(path)
    with open_image(path) as image:
        return height, width, len(find_deep_channels(path, image) or ()) or _count_channels(image)


def is_tiff(path: Path) -> bool:
    """Whether a file begins like a TIFF.

    Raises:
        DataError: missing or unreadable.
    """
    try:
        with open_file(path) as file:
            return file.read(4) in _TIFF
    except FileNotFoundError:
        raise make_missing_error(path) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read as an image: {error.strerror}") from None


def find_deep_channels(path: Path, image: Image.Image) -> list[int] | None:
    """Order of the channels of a 16-bit colour PNG, which Pillow would silently read as 8 bits; None for all other
    files.
    """
    if image.format != "PNG":
        return None
    with open_file(path) as file:
        header = file.read(_PNG_KIND + 1)
    return _PNG_ORDER.get(header[_PNG_KIND]) if header[_PNG_DEPTH] == 16 else None


def decode_deep_png(path: Path, order: list[int]) -> NDArray[Any]:
    """Decode a 16-bit PNG with OpenCV; damage is detected by Pillow before, because OpenCV ignores it."""
    import cv2  # late: init reads masks without it

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
