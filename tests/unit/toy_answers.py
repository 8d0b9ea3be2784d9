"""Answers of a teacher that knows three classes and is sure of a fourth that is never there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semiovs.calibration.counts import ScoreCounts
from semiovs.vocab import Vocabulary

NAMES = ("sky", "road", "car", "sofa")
WORDS = Vocabulary.of(NAMES)
WHO = {"name": "toy", "weights": "abc"}


def noisy(images: int, seed: int = 0, classes: Sequence[int] = (0, 1, 2, 3)) -> ScoreCounts:
    """Score = probability of being right, but for `sofa`, which is always wrong and always sure."""
    rng = np.random.default_rng(seed)
    tally = ScoreCounts(4)
    for i in range(images):
        truth = rng.choice(np.array([0, 1, 2], np.uint8), (40, 50))
        score = rng.beta(4, 1.5, truth.shape).astype(np.float32)
        other = (truth + rng.integers(1, 3, truth.shape)).astype(np.uint8) % 3
        label = np.where(rng.random(truth.shape) < score**2, truth, other).astype(np.uint8)
        label[:4] = 3
        label[~np.isin(label, classes)] = classes[0]
        tally.add(f"i{i}", label, score, truth)
    return tally
