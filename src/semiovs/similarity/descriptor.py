"""A descriptor of 64 numbers per image: low DCT frequencies of lightness and colours, compared by cosine.

No network is needed. It does not depend on brightness and contrast, and little on small crops. Descriptors are 8-bit
integers, so that products are exact and results are the same on every machine.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.int8]

#: Length of a descriptor; its first `LIGHT` numbers describe lightness.
WIDTH, LIGHT = 64, 48

_SIDE, _LIGHT_SIDE, _COLOR_SIDE = 32, 7, 3
_COLORS = 8
#: Vectors converted to float at once.
_TOGETHER = 1 << 16
#: Lightness, as OpenCV gives it (0 to 100), below which structure is noise.
_QUIET = 4.0
#: Divisor of colour frequencies, their weight against lightness.
_COLOR_SCALE = 60 * 16


def describe(pixels: NDArray[np.uint8]) -> Vectors:
    """(64,) descriptor of an RGB image (H, W, 3); all 0 for an even gray."""
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    light = lab[..., 0] - lab[..., 0].mean()
    light /= light.std() + _QUIET
    parts = [np.asarray(cv2.dct(light))[:_LIGHT_SIDE, :_LIGHT_SIDE].ravel()[1 : LIGHT + 1] / _SIDE]
    for channel in (1, 2):
        low = np.asarray(cv2.dct(lab[..., channel]))[:_COLOR_SIDE, :_COLOR_SIDE]
        parts.append(low.ravel()[:_COLORS] / _COLOR_SCALE)
    return np.asarray(quantize(np.concatenate(parts)[None])[0], np.int8)


def _make_mirror_signs() -> Vectors:
    """Signs by which mirroring changes a descriptor: odd horizontal frequencies are negated."""
    light = np.arange(1, LIGHT + 1) % _LIGHT_SIDE
    color = np.arange(_COLORS) % _COLOR_SIDE
    return np.where(np.concatenate([light, color, color]) % 2, -1, 1).astype(np.int8)


#: (64,) of 1 and -1; a descriptor times this is that of the image mirrored left to right.
MIRROR = _make_mirror_signs()


def quantize(vectors: NDArray[np.floating]) -> Vectors:
    """Quantise vectors (N, D) to 8 bits; directions are kept, lengths are not."""
    top = np.abs(vectors).max(axis=1, keepdims=True)
    return np.asarray(np.rint(vectors * (127 / np.maximum(top, 1e-12))), np.int8)


def lengths(vectors: Vectors) -> NDArray[np.float64]:
    """(N,) Euclidean lengths, 1 for a vector of zeros (its cosine with anything is 0)."""
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.int64)
    return np.asarray(np.sqrt(np.maximum(squares, 1)), np.float64)


def cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """(N,) cosines of rows (N, D) with rows (N, D)."""
    products = np.einsum("nd,nd->n", one, other, dtype=np.int64)
    return np.asarray(products / (lengths(one) * lengths(other)), np.float64)


def subtract_mean(vectors: Vectors, others: Vectors) -> Vectors:
    """Subtract the mean of `others` (M, D), the component that an encoder gives to every image, from vectors (N, D)."""
    mean = (others.sum(axis=0, dtype=np.int64) / max(len(others), 1)).astype(np.float32)
    found = np.empty_like(vectors)
    for first in range(0, len(vectors), _TOGETHER):
        found[first : first + _TOGETHER] = quantize(vectors[first : first + _TOGETHER] - mean)
    return found
