"""Run-length encoded masks: counts of alternating 0 and 1, and COCO's text form of them.

The text form (COCO API, ``maskApi``): from the fourth count on, the difference to the count before the last one; each
number in groups of five bits, least first, the sign in the highest of the last group, bit 5 set while more follow; plus
48, a character.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError

_MORE, _SIGN, _FIRST = 0x20, 0x10, 48
#: Groups of a number: 13 hold 65 bits, more than any count.
_LONGEST = 13


@dataclass(frozen=True, eq=False)
class Runs:
    """A mask as counts of alternating 0 and 1, 0 first.

    counts: (N,); size: (height, width) of the mask; by_columns: pixels go down the columns (COCO), else along the rows
    (CVAT); corner: (left, top) of the mask in the image, None where it must be of the image's size.
    """

    counts: NDArray[np.int64]
    size: tuple[int, int]
    by_columns: bool = True
    corner: tuple[int, int] | None = None

    def rasterize(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) where the object is.

        Raises:
            DataError: the counts do not add up to the mask, or the mask does not fit the image.
        """
        high, wide = self.size
        left, top = self.corner or (0, 0)
        if self.corner is None and self.size != (height, width):
            raise DataError(f"a mask of {wide}x{high} pixels, but the image is {width}x{height}")
        if left < 0 or top < 0 or left + wide > width or top + high > height:
            raise DataError(
                f"a mask of {wide}x{high} pixels at {left},{top} reaches out of the image ({width}x{height})"
            )
        total = sum(self.counts.tolist())  # of Python's own numbers, which do not overflow
        if total != high * wide or (self.counts < 0).any():
            what = "a negative count" if (self.counts < 0).any() else f"counts that add up to {total:,}"
            raise DataError(f"{what}, but the mask has {wide}x{high} = {high * wide:,} pixels")
        flat = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        part = flat.reshape(wide, high).T if self.by_columns else flat.reshape(high, wide)
        mask = np.zeros((height, width), np.bool_)
        mask[top : top + high, left : left + wide] = part
        return mask


def count_runs(mask: NDArray[np.bool_], *, by_columns: bool) -> NDArray[np.int64]:
    """Counts of alternating 0 and 1 of a mask (H, W), 0 first."""
    flat = mask.T.ravel() if by_columns else mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges)
    return np.concatenate([[0], counts]) if flat.size and flat[0] else counts


def encode_run_lengths(mask: NDArray[np.bool_]) -> str:
    """COCO's text form of a mask (H, W)."""
    from pycocotools import mask as coco

    return str(coco.encode(np.asfortranarray(mask, np.uint8))["counts"], "ascii")


def decode_run_lengths(text: str) -> NDArray[np.int64]:
    """Counts of COCO's text form.

    Raises:
        DataError: a character that cannot stand there, or the text ends within a number.
    """
    found: list[int] = []
    value = groups = 0
    for position, char in enumerate(text):
        code = ord(char) - _FIRST
        if not 0 <= code < 64 or groups >= _LONGEST:
            raise DataError(f"character {position} of the compressed counts cannot be right: {char!r}")
        value |= (code & 0x1F) << (5 * groups)
        groups += 1
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << (5 * groups)
        if len(found) > 2:
            value += found[-2]
        if abs(value) >= 1 << 40:
            raise DataError(f"character {position} of the compressed counts ends a count of {value}")
        found.append(value)
        value = groups = 0
    if groups:
        raise DataError("the compressed counts end within a number (cut off?)")
    return np.array(found, np.int64)
