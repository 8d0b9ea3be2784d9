"""Conformal thresholds: the loss against brute force, and the promise over many repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from semiovs.calibration.counts import ClassCounts
from semiovs.calibration.isotonic import fit_isotonic, fit_probabilities, pool_curves
from semiovs.calibration.risk_control import (
    FLOOR_OF_CLASS,
    FLOOR_OF_IMAGE,
    NEVER,
    compute_losses,
    control_risk,
    count_images_needed,
)


def counts_of(right: np.ndarray, wrong: np.ndarray, area: int = 100_000) -> ClassCounts:
    n = len(right)
    return ClassCounts(np.arange(n), right, wrong, np.zeros_like(right), np.full(n, area))


def population(images: int, seed: int) -> ClassCounts:
    """Images whose score separates right from wrong, some better than others, one in five badly, a few with tiny regions."""
    rng = np.random.default_rng(seed)
    level = np.arange(256) / 255
    size = rng.choice([60, 2000, 30_000], images)[:, None]
    skill = np.where(rng.random(images) < 0.2, rng.normal(-1, 1, images), rng.normal(3, 1, images))[:, None]
    share = np.exp(-((level - rng.uniform(0.3, 0.9, (images, 1))) ** 2) / 0.05)
    total = rng.poisson(size * share / share.sum(axis=1, keepdims=True))
    right = rng.binomial(total, 1 / (1 + np.exp(-(skill + 4 * (level - 0.5)))))
    return counts_of(right.astype(np.int64), (total - right).astype(np.int64))


def test_loss_is_the_envelope_of_the_share_of_wrong_pixels():
    counts = population(6, 0)
    found = compute_losses(counts)
    for i in range(6):
        right, wrong = counts.right[i], counts.wrong[i]
        floor = max(FLOOR_OF_CLASS * (right + wrong).sum(), FLOOR_OF_IMAGE * counts.area[i])
        plain = [wrong[t:].sum() / max(right[t:].sum() + wrong[t:].sum(), floor) for t in range(257)]
        wanted = [max(plain[t:]) for t in range(257)]
        assert np.allclose(found[i], wanted)
    assert (np.diff(found, axis=1) <= 0).all()
    assert (found[:, NEVER] == 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize(("images", "risk"), [(12, 0.1), (23, 0.1), (40, 0.05)])
def test_the_expected_loss_is_controlled(images, risk):
    """Over draws of `images` labelled images, the mean loss of a new image at the chosen threshold stays below the risk.

    The expectation over the new image is exact (the whole population), so that only the draws are random.
    """
    everyone = compute_losses(population(3000, 1))
    expected = everyone.mean(axis=0)
    rng = np.random.default_rng(2)
    draws = [rng.integers(0, 3000, images) for _ in range(3000)]
    held = np.array([expected[control_risk(everyone[draw], risk)] for draw in draws])
    naive = np.array([expected[np.argmax(everyone[draw].mean(axis=0) <= risk)] for draw in draws])
    error = held.std() / np.sqrt(len(draws))
    assert held.mean() <= risk + 2 * error
    assert held.mean() >= risk - 2 / (images + 1) - 2 * error  # theorem 2: no more cautious than this
    assert naive.mean() > risk + 2 * error  # without the finite-sample term the promise is broken


def test_too_few_images_promise_nothing():
    assert count_images_needed(0.1) == 9
    assert count_images_needed(0.05) == 19
    clean = np.zeros((9, 257))
    assert control_risk(clean, 0.1) == 0
    assert control_risk(clean[:8], 0.1) == NEVER
    assert control_risk(clean[:0], 0.1) == NEVER


def test_isotonic_is_the_minimax_solution():
    """f(i) = max over a <= i of min over b >= i of the weighted mean of a..b (Robertson et al. 1988, 1.4.2)."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        values, weights = rng.random(12), rng.random(12) + 0.01

        def mean(a, b, values=values, weights=weights):
            return np.average(values[a : b + 1], weights=weights[a : b + 1])

        wanted = [max(min(mean(a, b) for b in range(i, 12)) for a in range(i + 1)) for i in range(12)]
        assert np.allclose(fit_isotonic(values, weights), wanted)


def test_probability_rises_with_the_score_and_matches_the_rate():
    counts = population(200, 4)
    curve = fit_probabilities(counts)
    assert (np.diff(curve) >= -1e-12).all()
    for level in (100, 150, 200):
        near = slice(level - 8, level + 9)
        right, wrong = counts.right[:, near].sum(), counts.wrong[:, near].sum()
        assert abs(curve[level] - right / (right + wrong)) < 0.03
    assert fit_probabilities(counts_of(np.zeros((2, 256), np.int64), np.zeros((2, 256), np.int64))) is None


def test_a_class_with_few_images_follows_all_classes():
    own, everyone = np.full(256, 1.0), np.full(256, 0.5)
    assert pool_curves(own, 0, everyone)[0] == 0.5
    assert pool_curves(own, 5, everyone)[0] == 0.75
    assert pool_curves(own, 10_000, everyone)[0] > 0.999
    assert pool_curves(None, 3, everyone)[0] == 0.5
