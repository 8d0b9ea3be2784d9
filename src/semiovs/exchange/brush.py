"""Label Studio's brush masks: RGBA values of a whole image, run by run, in a stream of bits.

The stream (``@thi.ng/rle-pack``, which Label Studio uses): 32 bits the number of values; 5 bits the bits of a value
less one; four times 4 bits, each the bits of a length less one. Then blocks: 1 bit, is it a run; 2 bits, which of the
four widths; the number of values less one in so many bits; then the value of the run, or each of the values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError

_CHANNELS = 4
_WIDTHS = (3, 4, 8, 16)


@dataclass(frozen=True, eq=False)
class BrushMask:
    """A brush mask of an image of `size` (height, width), as it stands in the file."""

    data: bytes
    size: tuple[int, int]

    def rasterize(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) where the brush painted.

        Raises:
            DataError: damaged, or of another size.
        """
        if self.size != (height, width):
            raise DataError(f"a mask of {self.size[1]}x{self.size[0]} pixels, but the image is {width}x{height}")
        return decode_brush(self.data, height, width)


def decode_brush(data: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) pixels that are at least half opaque.

    Raises:
        DataError: the stream ends too early or is not that of an image of this size.
    """
    bits = _BitReader(data)
    total = bits.take(32)
    if total != height * width * _CHANNELS:
        raise DataError(
            f"a brush mask of {total:,} values, but {width}x{height} pixels have {height * width * _CHANNELS:,}"
        )
    word = bits.take(5) + 1
    widths = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        run = bits.take(1)
        end = done + 1 + bits.take(widths[bits.take(2)])
        if end > total:
            raise DataError(f"a brush mask whose runs go on to value {end:,} of {total:,}")
        values[done:end] = bits.take(word) & 255 if run else bits.words(end - done, word)
        done = end
    return np.asarray(values.reshape(height, width, _CHANNELS)[..., 3] >= 128)


def encode_brush(mask: NDArray[np.bool_]) -> bytes:
    """Stream of a mask (H, W): 255 in all four channels where it is true."""
    flat = np.repeat(mask.ravel(), _CHANNELS)
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    parts = [f"{flat.size:032b}", f"{8 - 1:05b}", *(f"{width - 1:04b}" for width in _WIDTHS)]
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        value = "1" * 8 if flat[start] else "0" * 8
        while start < end:
            length = min(end - start, 1 << _WIDTHS[-1])
            which = next(i for i, width in enumerate(_WIDTHS) if length <= 1 << width)
            parts.append(f"1{which:02b}{length - 1:0{_WIDTHS[which]}b}{value}")
            start += length
    text = "".join(parts)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


class _BitReader:
    """Numbers from a stream of bits, the highest bit of each byte and number first."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self.text = (self.bits + 48).tobytes()
        self.position = 0

    def take(self, width: int) -> int:
        """Next number of `width` bits."""
        start, self.position = self.position, self.position + width
        if self.position > len(self.text):
            raise DataError(f"a brush mask that ends after {len(self.text) // 8:,} bytes, within a number (cut off?)")
        return int(self.text[start : self.position], 2)

    def words(self, count: int, width: int) -> NDArray[np.uint8]:
        """The next `count` numbers of `width` bits, their lowest eight bits."""
        start, self.position = self.position, self.position + count * width
        if self.position > len(self.text):
            raise DataError(f"a brush mask that ends after {len(self.text) // 8:,} bytes, within its values (cut off?)")
        rows = self.bits[start : self.position].reshape(count, width)[:, -8:]
        return np.asarray(rows @ (1 << np.arange(rows.shape[1])[::-1]), np.uint8)
