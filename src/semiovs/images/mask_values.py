"""Read the raw values or colours of mask files, before they are mapped to classes.

A file's values are read as they are stored: 2- and 4-bit gray is not stretched to 0..255, 16-bit colours are not cut to
8 bits, and what can be meant in two ways (WhiteIsZero, several pages, lossy compression) is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.errors import DataError, MissingExtraError
from semiovs.images.conventions import IGNORE
from semiovs.images.image import open_file, open_image
from semiovs.images.mask_kinds import (
    CHANNELS,
    DEEP_COLORS,
    FRACTIONS,
    INVERTED,
    LOSSY,
    MODE,
    PACKED_BMP,
    PAGES,
    RENUMBERED,
    TOO_LARGE,
)
from semiovs.images.orientation import orient_pixels
from semiovs.images.pages import count_pages
from semiovs.images.pixels import decode_deep_png, find_deep_channels, is_tiff
from semiovs.images.tiff import EXTRA_SAMPLES, NODATA, PHOTOMETRIC, StoredTiff, parse_nodata, read_stored_tiff

#: A value (7,) or a colour (128, 64, 0) of a mask.
Key = tuple[int, ...]

#: Stands for NaN, which marks pixels without a value in files of floats.
NAN = int(np.iinfo(np.int64).min)

_GRAY_MODES = ("1", "L", "P", "LA", "PA", "I", "F")
#: Pillow stretches gray of few bits to 0..255: raw mode -> factor.
_STRETCHED = {"L;2": 85, "L;4": 17}
#: TIFF compressions that change values, or may: JPEG, JPEG 2000, WebP, JPEG XL.
_LOSSY = frozenset({6, 7, 33003, 33004, 33005, 34712, 34892, 50001, 50002, 52546})
#: Tags of TIFF files.
_BITS, _COMPRESSION, _SAMPLE_FORMAT = 258, 259, 339
#: Signed integers become these where none is negative: bytes -> type.
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
#: Whole numbers of floats are exact up to here.
_LARGEST_WHOLE = float(1 << 53)


@dataclass(frozen=True, eq=False)
class StoredMask:
    """What a mask file holds. values: (H, W) integers or (H, W, 3) uint8 colours; palette: (N, 3) colours of the
    values, None for other files than palette images, and where colours were asked for; nodata: the value that the file
    itself declares to mean "not measured" (GDAL's tag), `NAN` where that is no whole number.
    """

    values: NDArray[Any]
    palette: NDArray[np.uint8] | None = None
    nodata: int | None = None

    def list_used_colors(self) -> dict[int, Key]:
        """The colours of the palette that occur: index -> colour; empty for files without a palette."""
        if self.palette is None:
            return {}
        if self.values.dtype == np.uint8:  # ten times as fast as counting
            import cv2  # late: init reads masks without it

            counts = np.asarray(cv2.calcHist([self.values], [0], None, [256], [0, 256]))
            present: list[int] = np.flatnonzero(counts).tolist()
        else:
            present = [index for (index,) in count_values(self.values)]
        return {index: tuple(self.palette[index].tolist()) for index in present}


def read_mask_values(path: Path, *, colors: bool = False) -> NDArray[Any]:
    """Read the values of `read_stored_mask`."""
    return read_stored_mask(path, colors=colors).values


def read_stored_mask(path: Path, *, colors: bool = False) -> StoredMask:
    """Read (H, W) values of a mask as stored (palette indices, gray of 1 to 64 bits), or (H, W, 3) uint8 colours.

    A file whose three colour channels are equal is gray; alpha is left out. Floats are whole numbers, NaN becomes
    `NAN`. TIFF is turned by its orientation. colors: return (H, W, 3) in any case; palettes are looked up.

    Raises:
        DataError: missing or unreadable; lossy; several pages; WhiteIsZero; pixels that are neither values nor colours;
        fractions; a TIFF that needs `tifffile` (extra `geo`) where it is not installed.
    """
    opened = False
    try:
        with open_image(path) as image:
            opened = True
            if not _needs_tifffile(image):
                return _decode_image(path, image, colors)
    except DataError as error:
        if opened or error.kind != "unreadable" or not is_tiff(path):
            raise
    return _decode_tiff(path, colors)


def _needs_tifffile(image: Image.Image) -> bool:
    """Whether Pillow would change values, or leave out a channel that is not alpha."""
    if image.format != "TIFF":
        return False
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits, extra = tags.get(_BITS, (1,)), tags.get(EXTRA_SAMPLES, ())
    unnamed = 0 in extra[:1] and tags.get(PHOTOMETRIC) != 2
    return (len(bits) > 1 and max(bits) > 8) or 1 in extra or unnamed


def _decode_image(path: Path, image: Image.Image, colors: bool) -> StoredMask:
    """Decode an open image with Pillow, or a deep PNG with OpenCV."""
    _refuse_lossy(path, image)
    _check_pages(path, count_pages(image))
    deep_png = image.format == "PNG" and image.mode in {"RGB", "RGBA"} and _describe_tile(image)[1].endswith(";16B")
    if deep_png and (order := find_deep_channels(path, image)) is not None:
        image.load()  # finds damage, which OpenCV passes over
        return _finish(path, decode_deep_png(path, order), None, colors)
    deep = image.mode in {"I", "F"} or image.mode.startswith("I;16")
    if image.format == "TIFF" and (deep or not colors):
        _refuse_inverted(path, image.tag_v2.get(PHOTOMETRIC, 0))  # type: ignore[attr-defined]
    if colors and not deep:
        return StoredMask(np.asarray(image.convert("RGB")))
    if not deep and image.mode not in (*_GRAY_MODES, "RGB", "RGBA"):
        raise MODE.refuse(path, mode=image.mode)
    values = _restore_values(path, image)
    palette = None
    if image.mode in {"P", "PA"}:
        palette = np.frombuffer(image.im.getpalette("RGB", "RGB"), np.uint8).reshape(-1, 3)
        if image.format == "GIF":
            _refuse_renumbered(path, values, palette)
    declared = image.tag_v2.get(NODATA) if image.format == "TIFF" else None  # type: ignore[attr-defined]
    return _finish(path, values, palette, colors, None if declared is None else parse_nodata(declared))


def _restore_values(path: Path, image: Image.Image) -> NDArray[Any]:
    """Decode the values as stored: (H, W), (H, W, 2) or (H, W, 3 or 4)."""
    decoder, raw, maximum = _describe_tile(image)
    if image.format == "BMP" and image.mode in {"1", "L"}:
        _refuse_packed_bmp(path, 1 if image.mode == "1" else 8)
    values = np.asarray(image)
    if raw[:3] in _STRETCHED:
        return values // np.uint8(_STRETCHED[raw[:3]])
    if decoder.startswith("ppm") and image.mode != "1" and maximum:  # stretched to 0..255 or 0..65535, exactly undone
        if image.mode == "RGB" and maximum > 255:
            raise DEEP_COLORS.refuse(path)
        stretched = 65535 if image.mode == "I" else 255
        gray = values.ndim == 2 or bool((values[..., :1] == values).all())
        return np.rint(values * (maximum / stretched)).astype(np.int32) if gray else values
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        (signed, *_), (bits, *_) = tags.get(_SAMPLE_FORMAT, (1,)), tags.get(_BITS, (1,))
        if image.mode == "L" and signed == 2:
            return values.view(np.int8)
        if image.mode == "I" and signed == 1 and bits == 32:
            return values.view(np.uint32)
    return values


def _describe_tile(image: Image.Image) -> tuple[str, str, int]:
    """Pillow's decoder, its raw mode, and the largest value of a PGM or PPM file (0: not known)."""
    if not image.tile:  # type: ignore[attr-defined]
        return "", "", 0
    decoder, _, _, arguments = image.tile[0]  # type: ignore[attr-defined]
    first, *rest = arguments if isinstance(arguments, (tuple, list)) else (arguments,)
    return decoder, str(first), rest[0] if rest and isinstance(rest[0], int) else 0


def _decode_tiff(path: Path, colors: bool) -> StoredMask:
    """Decode a TIFF with tifffile."""
    try:
        found = read_stored_tiff(path)
    except MissingExtraError as error:
        raise DataError(str(error), kind="extra") from None
    if found.compression in _LOSSY:
        raise LOSSY.refuse(path, what="TIFF with lossy compression")
    _check_pages(path, found.pages)
    values = orient_pixels(_drop_alpha(path, found), found.orientation)
    if found.palette is not None and colors:
        return StoredMask(found.palette[values])
    _refuse_inverted(path, found.photometric)
    return _finish(path, values, found.palette, colors, found.nodata)


def _drop_alpha(path: Path, found: StoredTiff) -> NDArray[Any]:
    """The channels of values or colours: (H, W) or (H, W, 3)."""
    channels, colored = found.values.shape[2], found.photometric == 2
    if colored and channels >= 3:
        return found.values[..., :3]
    if channels == 1 or (channels == 2 and found.has_alpha and not colored):
        return found.values[..., 0]
    raise CHANNELS.refuse(path, channels=channels)


def _finish(
    path: Path, values: NDArray[Any], palette: NDArray[np.uint8] | None, colors: bool, nodata: float | None = None
) -> StoredMask:
    """Make values (H, W) or colours (H, W, 3) of decoded channels, gray with alpha or RGBA among them."""
    if values.ndim == 3:
        rgb = values[..., :3]
        values = values[..., 0] if values.shape[2] == 2 or (rgb[..., :1] == rgb).all() else rgb
    if values.ndim == 3:
        return StoredMask(_cut_colors(path, values))
    if nodata is not None and values.dtype.kind == "f" and not _is_whole(nodata):
        values = np.where(values == values.dtype.type(nodata), np.nan, values)
    whole = _make_whole(path, values)
    if colors:
        return StoredMask(_cut_colors(path, np.stack([whole] * 3, -1)))
    declared = None if nodata is None else int(nodata) if _is_whole(nodata) else NAN
    return StoredMask(whole, palette, declared)


def _is_whole(number: float) -> bool:
    return abs(number) <= _LARGEST_WHOLE and number == int(number)


def _cut_colors(path: Path, rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """Make uint8 of deeper colours that hold no more than 8 bits: values to 255, or 257 times as large."""
    if rgb.dtype == np.uint8 or not rgb.size:
        return rgb.astype(np.uint8, copy=False)
    if rgb.dtype.kind in "ui" and rgb.min() >= 0:
        if rgb.max() <= 255:
            return rgb.astype(np.uint8)
        if rgb.max() <= 65535 and not (rgb % 257).any():
            return (rgb // 257).astype(np.uint8)
    raise DEEP_COLORS.refuse(path)


def _make_whole(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Make integers of values: unsigned where none is negative, and as short as the file's, or as floats need."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        known = np.where(missing, 0, values).astype(np.float64)
        if (wrong := (np.abs(known) > _LARGEST_WHOLE) | (known != np.rint(known))).any():
            raise FRACTIONS.refuse(path, value=known[wrong][0], pixels=int(wrong.sum()))
        whole = known.astype(np.int64)
        if missing.any():
            whole[missing] = NAN
            return whole
        return _shorten(whole, np.min_scalar_type(int(whole.max(initial=0))))
    if values.dtype == np.uint64:
        if values.max(initial=0) > np.iinfo(np.int64).max:
            raise TOO_LARGE.refuse(path, value=values.max())
        return values
    return _shorten(values, _UNSIGNED[values.dtype.itemsize]) if values.dtype.kind == "i" else values


def _shorten(values: NDArray[Any], kind: Any) -> NDArray[Any]:
    """Convert signed values to an unsigned type if none is negative."""
    return values if values.min(initial=0) < 0 else values.astype(kind)


def _refuse_lossy(path: Path, image: Image.Image) -> None:
    if image.format in {"JPEG", "MPO"}:
        raise LOSSY.refuse(path, what="JPEG file")
    if image.format == "TIFF" and image.tag_v2.get(_COMPRESSION, 1) in _LOSSY:  # type: ignore[attr-defined]
        raise LOSSY.refuse(path, what="TIFF with lossy compression")
    if image.format == "WEBP" and not _is_lossless_webp(path):
        raise LOSSY.refuse(path, what="lossy WebP file")


def _is_lossless_webp(path: Path) -> bool:
    with open_file(path) as file:
        data = file.read()
    at = 12  # after RIFF, the size and WEBP
    while at + 8 <= len(data):
        if data[at : at + 4] == b"VP8L":
            return True
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return False


def _check_pages(path: Path, pages: int) -> None:
    if pages > 1:
        raise PAGES.refuse(path, pages=pages)


def _refuse_inverted(path: Path, photometric: int) -> None:
    """Refuse WhiteIsZero: some programs store the values as they are, others store them inverted."""
    if photometric == 0:
        raise INVERTED.refuse(path)


def _refuse_renumbered(path: Path, values: NDArray[Any], palette: NDArray[np.uint8]) -> None:
    """Refuse a gray GIF whose indices are not its gray values: writers of GIF renumber gray (but 0 and 1 as black and
    white are read).
    """
    used = np.flatnonzero(np.bincount(values.ravel(), minlength=1))
    colors = palette[used]
    if (colors == colors[:, :1]).all() and not np.array_equal(colors[:, 0], used):
        shown = {int(index): int(gray) for index, gray in zip(used, colors[:, 0], strict=True)}
        if shown.items() <= {0: 0, 1: IGNORE}.items():
            return
        raise RENUMBERED.refuse(path)


def _refuse_packed_bmp(path: Path, bits: int) -> None:
    """Refuse a gray BMP of other than the usual bits a pixel, which Pillow takes for usual."""
    with open_file(path) as file:
        header = file.read(30)
    if int.from_bytes(header[28:30], "little") != bits:
        raise PACKED_BMP.refuse(path)


def format_key(key: Key) -> str:
    """Format a value or colour as in `data.masks.map`: ``7``, ``-1``, ``nan`` or ``128,64,0``."""
    return ",".join("nan" if part == NAN else str(part) for part in key)


def count_values(values: NDArray[Any]) -> Counter[Key]:
    """Count the pixels of each value or colour returned by `read_mask_values`, ascending."""
    if values.ndim == 2 and values.dtype.itemsize <= 2 and values.dtype.kind != "i":  # eight times as fast as sorting
        table = np.bincount(values.ravel())
        return Counter({(value,): int(table[value]) for value in np.flatnonzero(table).tolist()})
    packed = values.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32) if values.ndim == 3 else values
    found, counts = np.unique(packed, return_counts=True)
    parts = (found,) if values.ndim == 2 else (found >> 16, found >> 8 & 255, found & 255)
    keys = zip(*(part.tolist() for part in parts), strict=True)
    return Counter(dict(zip(keys, counts.tolist(), strict=True)))


def map_binary_values(values: Collection[int], names: Sequence[str]) -> dict[str, str] | None:
    """Map the values of masks that hold only 0 and 255 to the first two class names.

    255 usually means ignore, but is a class where 0 is the only other value. None for masks with other values.
    """
    return {"0": names[0], str(IGNORE): names[1]} if set(values) == {0, IGNORE} and len(names) > 1 else None


class ForeignValuesError(DataError):
    """A mask holds values or colours that are not classes.

    counts: value or colour -> pixels, of the whole mask.
    """

    def __init__(self, message: str, counts: Counter[Key], *, kind: str) -> None:
        super().__init__(message, kind=kind)
        self.counts = counts
