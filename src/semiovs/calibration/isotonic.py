"""Probabilities from scores: isotonic regression by level, shrunk towards all classes for classes with few images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semiovs.calibration.counts import LEVELS, ClassCounts

#: Weight of the curve of all classes, in images of the class itself.
POOLED_IMAGES = 5.0

Floats = NDArray[np.float64]


def fit_isotonic(values: Floats, weights: Floats) -> Floats:
    """Weighted least-squares non-decreasing fit to `values` by pooling adjacent violators (Ayer et al. 1955)."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, length = value, weight, 1
        while blocks and blocks[-1][0] >= mean:
            before, heavy, long = blocks.pop()
            mean = (before * heavy + mean * total) / (heavy + total)
            total, length = total + heavy, length + long
        blocks.append((mean, total, length))
    return np.repeat([mean for mean, _, _ in blocks], [length for _, _, length in blocks])


def fit_probabilities(counts: ClassCounts) -> Floats | None:
    """(256,) probability that a pixel of each level is right, interpolated for missing levels; None without pixels."""
    right = counts.right.sum(axis=0)
    total = right + counts.wrong.sum(axis=0)
    seen = np.flatnonzero(total)
    if not seen.size:
        return None
    fitted = fit_isotonic(right[seen] / total[seen], total[seen].astype(np.float64))
    return np.interp(np.arange(LEVELS), seen, fitted)


def pool_curves(own: Floats | None, images: int, everyone: Floats) -> Floats:
    """(n · own + m · everyone) / (n + m), with m = `POOLED_IMAGES`: monotone, as both are."""
    if own is None:
        return everyone
    return (images * own + POOLED_IMAGES * everyone) / (images + POOLED_IMAGES)
