"""Read TIFF and GeoTIFF with any number of channels by `tifffile` (extra `geo`): planar or interleaved, tiled,
compressed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.errors import DataError, MissingExtraError
from semiovs.images.file_names import make_missing_error
from semiovs.images.image import open_file
from semiovs.images.orientation import ORIENTATION, valid_orientation

#: Largest size of one decoded image, all channels, in bytes.
LARGEST = 2**31
#: GDAL's tag of the value of pixels that were not measured.
NODATA = 42113
#: Tags of the photometric interpretation and of what the channels after colour or gray are.
PHOTOMETRIC, EXTRA_SAMPLES = 262, 338
#: Photometric interpretation of palette images.
_PALETTE = 3


@dataclass(frozen=True, eq=False)
class TiffImage:
    """A TIFF image. values: (H, W, C) as stored; nodata: value of pixels not measured; orientation: 1 to 8, not yet
    applied.
    """

    values: NDArray[Any]
    nodata: float | None
    orientation: int


@dataclass(frozen=True, eq=False)
class StoredTiff:
    """The first picture of a TIFF as stored. values: (H, W, C), palette indices not looked up; palette: (N, 3) colours
    or None; photometric, compression: TIFF's numbers; has_alpha: whether the second channel, or the fourth of RGB, is
    alpha; pages: number of pictures; orientation: 1 to 8, not yet applied; nodata: value of pixels not measured.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None
    photometric: int
    compression: int
    has_alpha: bool
    pages: int
    orientation: int
    nodata: float | None


def is_page(subfile: int) -> bool:
    """Whether an image of a TIFF is a picture of its own, by its NewSubfileType: no smaller copy, no transparency."""
    return not subfile & 5


def read_stored_tiff(path: Path) -> StoredTiff:
    """Read the first image of a file without looking colours up.

    Raises:
        DataError, MissingExtraError: as `read_tiff`.
    """
    with _open_series(path) as series:
        page = series.keyframe
        values = _decode_series(path, series)
        extra = [int(kind) for kind in page.extrasamples]
        return StoredTiff(
            values,
            _read_palette(page, values.shape[2]),
            int(page.photometric),
            int(page.compression),
            extra[:1] in ([1], [2]),
            _count_pages(series),
            _read_page_orientation(page),
            _read_nodata(page),
        )


def _count_pages(series: Any) -> int:
    """Count the pictures of a file, also those of a series that are stored behind one page."""
    page = series.keyframe
    listed = sum(is_page(int(each.aspage().subfiletype or 0)) for each in page.parent.pages)
    return max(listed, int(series.size) // max(int(page.size), 1))


def read_tiff(path: Path) -> TiffImage:
    """Read the first image of a file; pages that are channels of one image are read together.

    Raises:
        DataError: unreadable, truncated, damaged, too large, or a stack that is no picture; MissingExtraError: no
        tifffile.
    """
    with _open_series(path) as series:
        page = series.keyframe
        values = _decode_series(path, series)
        colors = _read_palette(page, values.shape[2])
        if colors is not None:
            return TiffImage(colors[values[..., 0]], None, _read_page_orientation(page))
        bilevel = values.dtype == np.bool_
        return TiffImage(
            values.astype(np.uint8) * 255 if bilevel else values, _read_nodata(page), _read_page_orientation(page)
        )


def read_tiff_shape(path: Path) -> tuple[int, int, int]:
    """(height, width, channels) as shown, from the headers; the data that they point at must lie inside the file.

    Raises:
        DataError, MissingExtraError: as `read_tiff`, but for damage in the data.
    """
    with _open_series(path) as series:
        height, width, channels = _check_shape(path, series)
        end = max(offset + count for page in series.pages for offset, count in _list_segments(page))
        if end > series.keyframe.parent.filehandle.size:
            raise DataError(f"{path}: cannot be read as an image: truncated")
        if _read_palette(series.keyframe, channels) is not None:
            channels = 3
        return (width, height, channels) if _read_page_orientation(series.keyframe) >= 5 else (height, width, channels)


@contextmanager
def _open_series(path: Path) -> Iterator[Any]:
    """Open the first series of pages; errors inside the block become DataErrors that name the file."""
    tifffile = _import_tifffile(path)
    try:
        with open_file(path) as file, tifffile.TiffFile(file) as tiff:
            yield tiff.series[0]
    except (DataError, MissingExtraError):
        raise
    except FileNotFoundError:
        raise make_missing_error(path) from None
    except ImportError as error:  # a codec that imagecodecs brings
        raise MissingExtraError(f"{path}: {error}; pip install 'semiovs[geo]'") from None
    except Exception as error:  # decoders raise a dozen types on damaged bytes
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        if "imagecodecs" in reason:
            raise MissingExtraError(f"{path}: {reason}; pip install 'semiovs[geo]'") from None
        raise DataError(f"{path}: cannot be read as an image: {reason}") from None


def _decode_series(path: Path, series: Any) -> NDArray[Any]:
    """Decode (H, W, C)."""
    height, width, channels = _check_shape(path, series)
    values: NDArray[Any] = series.asarray(maxworkers=1)
    if _has_channels_first(series):
        return values.reshape(channels, height, width).transpose(1, 2, 0)
    return values.reshape(height, width, channels)


def _import_tifffile(path: Path) -> Any:
    try:
        import tifffile
    except ImportError:
        raise MissingExtraError(f"{path}: TIFF like this is read by tifffile: pip install 'semiovs[geo]'") from None
    logger = logging.getLogger("tifffile")
    if logger.level != logging.CRITICAL:  # it reports tags it cannot read; what matters is raised
        logger.setLevel(logging.CRITICAL)
    return tifffile


def _check_shape(path: Path, series: Any) -> tuple[int, int, int]:
    """(height, width, channels) as stored."""
    axes, shape = series.axes, series.shape
    sides = dict(zip(axes, shape, strict=True))
    others = [axis for axis in axes if axis not in "YX" and sides[axis] > 1]
    if "Y" not in sides or "X" not in sides or len(others) > 1:
        told = " x ".join(f"{length} ({axis})" for axis, length in sides.items())
        raise DataError(f"{path}: is a stack of {told}; a picture has rows, columns and channels: cut it into pictures")
    height, width = sides["Y"], sides["X"]
    channels = sides[others[0]] if others else 1
    limit = 2 * (Image.MAX_IMAGE_PIXELS or LARGEST)
    if height * width > limit or height * width * channels * np.dtype(series.dtype).itemsize > LARGEST:
        raise DataError(f"{path}: {width:,} x {height:,} pixels of {channels} channels; cut it into tiles")
    if np.dtype(series.dtype).kind not in "buif":
        raise DataError(f"{path}: {series.dtype} pixels; convert them to integers or float32")
    return height, width, channels


def _has_channels_first(series: Any) -> bool:
    """Whether the channels come before rows and columns."""
    return not (series.axes.endswith("S") and dict(zip(series.axes, series.shape, strict=True))["S"] > 1)


def _read_palette(page: Any, channels: int) -> NDArray[np.uint8] | None:
    """Read the palette (N, 3) of a palette image; None for all others."""
    if channels > 1 or page.photometric != _PALETTE or page.colormap is None:
        return None
    return np.ascontiguousarray((np.asarray(page.colormap, np.uint16) >> 8).astype(np.uint8).T)


def _list_segments(page: Any) -> Iterator[tuple[int, int]]:
    if page is None:
        raise ValueError("a page is missing")
    yield from zip(page.dataoffsets, page.databytecounts, strict=True)


def _read_nodata(page: Any) -> float | None:
    tag = page.tags.get(NODATA)
    return None if tag is None else parse_nodata(tag.value)


def parse_nodata(value: object) -> float | None:
    """The number in GDAL's tag; None for any other text."""
    try:
        return float(str(value).strip(" \0"))
    except ValueError:
        return None


def _read_page_orientation(page: Any) -> int:
    tag = page.tags.get(ORIENTATION)
    return valid_orientation(int(tag.value)) if tag is not None and str(tag.value).isdigit() else 1
