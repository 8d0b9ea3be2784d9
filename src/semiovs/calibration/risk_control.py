"""Conformal risk control over images (Angelopoulos et al. 2022, arXiv 2208.02814, theorem 1).

The loss of image i for class k at threshold t, with K kept pixels, W of them wrong, P predicted ones and A pixels in
the image (all where the truth is known), is

    l_i(t) = W_i(t) / max(K_i(t), P_i / 10, A_i / 1000)            in [0, 1]

the share of wrong pixels among the kept ones, with a floor for few kept pixels. It is not monotone in t, so its
envelope L_i(t) = max over t' >= t of l_i(t') is controlled instead; L is monotone and never below l.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semiovs.calibration.counts import LEVELS, ClassCounts

#: Floors of the denominator: shares of the predicted pixels, and of the image.
FLOOR_OF_CLASS = 0.1
FLOOR_OF_IMAGE = 0.001

#: A threshold above all levels: nothing is kept.
NEVER = LEVELS

Floats = NDArray[np.float64]


def count_kept(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels by level (..., 256) -> pixels at or above each threshold 0..256, (..., 257)."""
    above = counts[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return np.concatenate([above, np.zeros_like(above[..., :1])], axis=-1)


def compute_losses(counts: ClassCounts) -> Floats:
    """L_i(t): (n, 257) for the images of `counts` and the thresholds 0..256; not increasing in t, 0 at the last."""
    wrong = count_kept(counts.wrong)
    kept = count_kept(counts.right) + wrong
    floor = np.maximum(kept[:, 0] * FLOOR_OF_CLASS, counts.area * FLOOR_OF_IMAGE)
    share = wrong / np.maximum(np.maximum(kept, floor[:, None]), 1e-9)
    envelope: Floats = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
    return envelope


def control_risk(loss: Floats, risk: float) -> int:
    """The smallest threshold t with (Σ L_i(t) + 1) / (n + 1) <= risk; `NEVER` if no level satisfies it.

    For exchangeable images, the expected loss of a new image at this threshold is at most `risk`.
    """
    n = len(loss)
    holds = (loss.sum(axis=0) + 1) / (n + 1) <= risk + 1e-12
    return int(np.argmax(holds)) if holds.any() else NEVER


def count_images_needed(risk: float) -> int:
    """Smallest number of images n for which `risk` can be controlled: 1 / (n + 1) <= risk."""
    return math.ceil(1 / risk - 1 - 1e-9)


def find_least_risk(images: int) -> float:
    """Smallest risk that `images` can control, in thousandths, below 1."""
    return min(math.ceil(1000 / (images + 1)) / 1000, 0.999)


def choose_risk(images: int) -> float:
    """0.1, or where `images` are few twice the smallest risk that they can control: at that one itself a class is kept
    only if no pixel of it is wrong.
    """
    return max(0.1, min(round(2 * find_least_risk(images), 3), 0.5))
