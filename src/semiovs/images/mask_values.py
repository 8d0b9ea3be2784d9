"""Read the raw values or colours of mask files, before they are mapped to classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.image import open_image

_GRAY_MODES = ("1", "L", "P", "LA", "PA", "I")

#: A value (7,) or a colour (128, 64, 0) of a mask.
Key = tuple[int, ...]


def read_mask_values(path: Path, *, colors: bool = False) -> NDArray[Any]:
    """Read (H, W) values of a mask as stored (palette indices, gray of 1 to 32 bits), or (H, W, 3) uint8 colours.

    A file whose three colour channels are equal is gray. colors: return (H, W, 3) in any case; palettes are looked up.

    Raises:
        DataError: missing or unreadable; a JPEG file; pixels that are neither values nor colours; negative values.
    """
    with open_image(path) as image:
        if image.format in {"JPEG", "MPO"}:
            raise DataError(
                f"{path}: a JPEG file cannot hold a mask, it changes the values; save masks as PNG", kind="jpeg"
            )
        if colors:
            return np.asarray(image.convert("RGB"))
        if image.mode in {"RGB", "RGBA"}:
            rgb = np.asarray(image)[..., :3]
            return rgb[..., 0] if (rgb[..., :1] == rgb).all() else rgb
        if image.mode not in _GRAY_MODES and not image.mode.startswith("I;16"):
            raise DataError(f"{path}: mode {image.mode} is not a mask; save class ids as an 8-bit PNG", kind="mode")
        values = np.asarray(image)
    values = values[..., 0] if values.ndim == 3 else values
    if values.size and values.min() < 0:
        raise DataError(f"{path}: negative mask values", kind="values")
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def count_values(values: NDArray[Any]) -> Counter[Key]:
    """Count the pixels of each value or colour returned by `read_mask_values`, ascending."""
    if values.ndim == 2 and values.dtype.itemsize <= 2:  # eight times as fast as sorting
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
