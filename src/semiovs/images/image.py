"""Read images as RGB, oriented as a viewer shows them; errors name the file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from semiovs.errors import DataError
from semiovs.images.containers.container import find_stored
from semiovs.images.file_names import make_missing_error
from semiovs.images.orientation import orient_image, read_orientation

#: Decoders that may run; some of Pillow's others call external programs (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
#: Tags of TIFF files: bits of each channel, compression, meaning of gray, order of channels.
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES = 258, 259, 262, 284
#: Bytes near the end of a complete file.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def read_image(path: Path) -> Image.Image:
    """Read an RGB image as a viewer shows it (EXIF orientation applied).

    Gray, palette, RGBA (alpha dropped) and CMYK are converted; 16-bit gray is scaled to 8 bit.

    Raises:
        DataError: missing, unreadable, truncated, damaged, or larger than Pillow's limit for one image.
    """
    with open_image(path) as image:
        image.load()
        return orient_image(convert_to_rgb(image), read_orientation(image))


def read_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the image that `read_image` returns.

    Reads the header and the end of the file; decodes the image only if the file does not end as it should.

    Raises:
        DataError: as `read_image`, but for damage in the middle of a file.
    """
    with open_image(path) as image:
        _refuse_scrambled(image)
        size = (image.height, image.width) if read_orientation(image) >= 5 else image.size
        end = _ENDS.get(image.format or "")
        if end is not None and end not in _read_tail(path):
            image.load()
    return size


def _read_tail(path: Path) -> bytes:
    with open_file(path) as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 32))
        return file.read()


def open_file(path: Path) -> BinaryIO:
    """Open the bytes of an image, in a file or a container."""
    found = _find_bytes(path)
    return found if isinstance(found, io.BytesIO) else found.open("rb")


def _find_bytes(path: Path) -> Path | io.BytesIO:
    """Find the file or bytes to open; a pipe is an error, because opening it could wait forever."""
    found = find_stored(path)
    if isinstance(found, Path) and not (found.is_file() or found.is_dir()) and found.exists():
        raise DataError(f"{path}: a pipe or device, no file", kind="unreadable")
    return found


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image in a file or a container; errors inside the block become DataErrors that name it."""
    try:
        with Image.open(_find_bytes(path), formats=_FORMATS) as image:
            image.filename = str(path)
            keep_stored_size(image)
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise make_missing_error(path) from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(f"{path}: more than {limit:,} pixels; cut it into tiles", kind="bomb") from None
    except Exception as error:  # decoders raise a dozen types on damaged bytes, OSError to zlib.error and SyntaxError
        raise DataError(f"{path}: cannot be read as an image: {_explain(error, path)}", kind="unreadable") from None


def keep_stored_size(image: Image.Image) -> None:
    """Give a TIFF its size as stored until it is loaded, and Pillow turns it, like that of files of other formats.

    Pillow swaps the sides of a turned TIFF on opening, and then decodes uncompressed rows at the wrong length.
    """
    if image.format == "TIFF":
        image._size = getattr(image, "_tile_size", image.size)


def _explain(error: Exception, path: Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.lower() in (".tif", ".tiff") and _read_tail(path):
            return (
                "damaged, or no TIFF of gray or RGB; other channels and types are read with data.bands, which "
                "`semiovs data normalize` proposes"
            )
        with open_file(path) as file:
            start = file.read(8)
        if start[4:] == b"ftyp":  # whatever its ending
            return "a HEIC or AVIF picture, or a film, which are not read; save it as JPEG or PNG"
        return "damaged, or not an image format that is supported" if start else "empty file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), type(error).__name__)


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """Convert an open image to RGB without turning it; see `read_image`."""
    _refuse_scrambled(image)
    if image.mode == "RGB":
        return image.copy()
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _scale_to_8_bit(image)
    if image.mode in {"P", "PA"} and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bit (Pillow's conversion would clip values above 255)."""
    values = np.asarray(image)
    if image.mode == "F" or (values.size and not 0 <= values.min() <= values.max() <= 65535):
        raise DataError(f"{image.filename}: 32-bit pixels; convert it to 8 or 16 bit, or set data.bands and data.range")  # type: ignore[attr-defined]
    if _read_tag(image, _PHOTOMETRIC, 1) == 0:  # WhiteIsZero, which Pillow inverts up to 8 bits alone
        values = 65535 - values
    scaled = (values.astype(np.uint32) + 128) // 257
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")


def _refuse_scrambled(image: Image.Image) -> None:
    """Refuse TIFF of deep colours, plane by plane and not compressed: Pillow decodes each value as two pixels."""
    bits = _read_tag(image, _BITS, ())
    deep = isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8
    if deep and _read_tag(image, _PLANES, 1) == 2 and _read_tag(image, _COMPRESSION, 1) == 1:
        what = "colours of more than 8 bits, plane by plane, are not read without data.bands"
        raise DataError(f"{image.filename}: {what}; set it, or save the channels interleaved")  # type: ignore[attr-defined]


def _read_tag(image: Image.Image, tag: int, default: object) -> object:
    """A tag of a TIFF; the default for other files."""
    return image.tag_v2.get(tag, default) if image.format == "TIFF" else default  # type: ignore[attr-defined]
