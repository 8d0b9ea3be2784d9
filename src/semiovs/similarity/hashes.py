"""A 64-bit perceptual hash (Zauner 2010, "pHash": signs of low DCT frequencies), and a fast search for near hashes.

A re-encoded, resized or slightly changed copy is within `RADIUS` bits of its original. Images with little content have
near hashes too, so `are_alike` then compares the images themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]

#: Hamming distance up to which two images may be copies.
RADIUS = 10
#: Correlation of two thumbnails from which on they show the same image.
CORRELATION = 0.9

_SIDE, _KEPT, _SMALL = 32, 8, 16
#: Borders: largest share of a side, largest difference of gray levels inside, share of a side that is blurred by
#: compression.
_FRAME, _EVEN, _BLURRED = 0.2, 24, 0.015
_COPY = 256
_BANDS, _WIDTH = 4, 16
#: Candidate pairs compared at once, which bounds the memory.
_TOGETHER = 1 << 22
#: So few hashes are compared all with all, which is quicker than an index of them.
_FEW = 500
#: Pairs of thumbnails that are compared together.
_COMPARED = 1024


def crop_borders(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop bars and borders from an image, (H, W) or (H, W, 3).

    Bars lie on two opposite sides, are of one even gray, the same on both, about as wide, and at most `_FRAME` of the
    side. They are looked for in a copy with a long side of `_COPY` pixels.
    """
    height, width = pixels.shape[:2]
    gray = _to_gray(pixels)
    factor = max(1.0, max(height, width) / _COPY)
    if factor > 1:
        size = (max(1, round(width / factor)), max(1, round(height / factor)))
        gray = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)
    top, bottom, left, right = (
        round(bar * factor) for bar in (*_measure_bars(gray), *_measure_bars(np.ascontiguousarray(gray.T)))
    )
    return pixels[top : height - bottom, left : width - right]


def _to_gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _measure_bars(gray: NDArray[np.uint8]) -> tuple[int, int]:
    """Widths of the bars above and below, both 0 if there are none."""
    uneven = np.flatnonzero(gray.max(axis=1).astype(np.int16) - gray.min(axis=1) > _EVEN)
    if not len(uneven):
        return 0, 0
    above, below = int(uneven[0]), len(gray) - 1 - int(uneven[-1])
    small, large = sorted((above, below))
    if not small or large > 2 * small + 1 or large > _FRAME * len(gray):
        return 0, 0
    if abs(float(gray[:above].mean()) - float(gray[-below:].mean())) > _EVEN:
        return 0, 0
    blurred = round(_BLURRED * len(gray))
    return above + blurred, below + blurred


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """64-bit hash of an image, (H, W) or (H, W, 3)."""
    gray = _to_gray(pixels)
    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.asarray(cv2.dct(small))[:_KEPT, :_KEPT].ravel()
    return int(np.packbits(low > np.median(low[1:])).view(">u8")[0])


def make_thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(16, 16) gray copy of an image, (H, W) or (H, W, 3), for `are_alike`."""
    gray = _to_gray(pixels)
    return np.asarray(cv2.resize(gray, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA), np.uint8)


def are_alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(...) whether thumbnails (..., 16, 16) show the same pictures, whatever their brightness and contrast."""
    return np.asarray(correlation(one, other) >= CORRELATION)


def correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(...) of thumbnails (..., 16, 16), -1 to 1; two pictures of one even colour each count as the same."""
    first, second = (small.astype(np.float64) - small.mean((-2, -1), keepdims=True) for small in (one, other))
    scale = np.sqrt((first**2).sum((-2, -1)) * (second**2).sum((-2, -1)))
    even = ~first.any((-2, -1)) & ~second.any((-2, -1))
    return np.where(even, 1.0, (first * second).sum((-2, -1)) / np.where(scale == 0, 1, scale))


def alike_pairs(small: NDArray[np.uint8], pairs: Pairs) -> NDArray[np.bool_]:
    """(P,) which of the pairs (P, 2) of thumbnails (N, 16, 16) are `are_alike`."""
    parts = (pairs[start : start + _COMPARED] for start in range(0, len(pairs), _COMPARED))
    found = [are_alike(small[part[:, 0]], small[part[:, 1]]) for part in parts]
    return np.concatenate([np.zeros(0, np.bool_), *found])


class HashIndex:
    """Exact search for hashes within a Hamming radius, in memory linear in the number of hashes.

    The 64 bits are four bands of 16: two hashes within r differ in at most r // 4 bits in some band (the pigeonhole),
    so only those that are so near in a band are compared.
    """

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = np.asarray(hashes, np.uint64)
        self._orders: list[Pairs] = []
        self._starts: list[Pairs] = []
        for band in range(_BANDS):
            keys = _extract_band(self.hashes, band)
            self._orders.append(np.argsort(keys, kind="stable"))
            counts = np.bincount(keys, minlength=1 << _WIDTH)
            self._starts.append(np.concatenate(([0], np.cumsum(counts))))

    def query(self, hashes: Hashes, radius: int = RADIUS) -> Pairs:
        """(P, 2) pairs: index into `hashes`, index into the hashes of this index; in ascending order, each once."""
        hashes = np.asarray(hashes, np.uint64)
        masks = _list_bit_masks(radius // _BANDS)
        found = [np.zeros((0, 2), np.int64)]
        for band in range(_BANDS):
            keys = _extract_band(hashes, band)
            for mask in masks:
                found += [
                    _keep_near(pairs, hashes, self.hashes, radius) for pairs in self._candidates(band, keys ^ mask)
                ]
        return np.unique(np.concatenate(found), axis=0)

    def _candidates(self, band: int, keys: Pairs) -> Iterator[Pairs]:
        """Pairs of equal keys, `_TOGETHER` or so at a time."""
        starts = self._starts[band][keys]
        sizes = self._starts[band][keys + 1] - starts
        ends = np.cumsum(sizes)
        first = 0
        while first < len(keys):
            done = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + _TOGETHER, side="right")))
            size = sizes[first:last]
            query = np.repeat(np.arange(first, last), size)
            within = np.arange(len(query)) - np.repeat(ends[first:last] - size - done, size)
            yield np.stack([query, self._orders[band][np.repeat(starts[first:last], size) + within]], axis=1)
            first = last


def find_near_hashes(hashes: Hashes, radius: int = RADIUS) -> Pairs:
    """(P, 2) pairs i < j of hashes within `radius` bits.

    Equal hashes are compared once: an image that occurs ten thousand times gives pairs with its first index
    only.
    """
    values, first, inverse = np.unique(np.asarray(hashes, np.uint64), return_index=True, return_inverse=True)
    pairs = _compare_all(values, radius) if len(values) <= _FEW else HashIndex(values).query(values, radius)
    near = first[pairs[pairs[:, 0] < pairs[:, 1]]]
    others = np.setdiff1d(np.arange(len(inverse)), first)
    equal = np.stack([first[inverse[others]], others], axis=1)
    both = np.sort(np.concatenate([near, equal]), axis=1).astype(np.int64)
    return both[np.lexsort((both[:, 1], both[:, 0]))]


def _compare_all(hashes: Hashes, radius: int) -> Pairs:
    """(P, 2) pairs i < j within `radius` bits, in ascending order."""
    one, other = np.triu_indices(len(hashes), 1)
    near = distance(hashes[one], hashes[other]) <= radius
    return np.stack([one[near], other[near]], axis=1).astype(np.int64)


def _extract_band(hashes: Hashes, band: int) -> Pairs:
    return ((hashes >> np.uint64(_WIDTH * band)) & np.uint64((1 << _WIDTH) - 1)).astype(np.int64)


def _list_bit_masks(bits: int) -> list[int]:
    """All values of a band with at most this many bits set."""
    chosen = (places for count in range(bits + 1) for places in combinations(range(_WIDTH), count))
    return [sum(1 << place for place in places) for places in chosen]


def _keep_near(pairs: Pairs, one: Hashes, other: Hashes, radius: int) -> Pairs:
    return pairs[distance(one[pairs[:, 0]], other[pairs[:, 1]]) <= radius]


def distance(one: Hashes, other: Hashes) -> NDArray[np.uint8]:
    """Hamming distances of hashes, bits that differ."""
    differ = np.bitwise_xor(one, other)
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(differ), np.uint8)
    parts = np.ascontiguousarray(differ).view(np.uint16).reshape(-1, 4)  # numpy 1.26
    return np.asarray(_ONES[parts].sum(axis=1), np.uint8)


_ONES = (
    np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1)
    .sum(axis=1)
    .astype(np.uint8)
)
