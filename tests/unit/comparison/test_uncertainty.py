"""Standard errors against brute force, and what intervals cover in many repetitions with a known difference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from semiovs.comparison import uncertainty
from semiovs.comparison.areas import ImageAreas
from semiovs.comparison.difference import compare_arms
from semiovs.comparison.pairing import pair_arms
from semiovs.comparison.uncertainty import estimate_errors
from unit.simulated_arms import MIXES, Mix, draw_arms, find_true_differences, without_gain

#: Where 1,000 repetitions land with an interval that covers 95 %: 2.9 binomial standard errors.
LEAST, MOST = 0.93, 0.97
Z = stats.norm.ppf(0.975)


def brute_force(base, other):
    """Differences by seed, and the variances of seeds, images, and both together, of the mean over seeds: (S,), 3."""
    images = len(base[0].ids)
    target = base[0].target
    predicted, hit = (
        np.array([[getattr(a, part) for a in arm] for arm in (base, other)]) for part in ("predicted", "hit")
    )

    def difference(kept):
        of = target[kept].sum(axis=0), predicted[:, :, kept].sum(axis=2), hit[:, :, kept].sum(axis=2)
        score = (100 * of[2] / (of[0] + of[1] - of[2] + 1e-10)).mean(axis=-1)
        return score[1] - score[0]

    by_seed = difference(np.arange(images))
    without = np.array([difference(np.delete(np.arange(images), i)) for i in range(images)])
    deviation = without - without.mean(axis=1, keepdims=True)
    seeds = len(base)
    scale = (images - 1) ** 2 / images
    both = scale * deviation.var(axis=0, ddof=1).sum() / (seeds * (seeds - 1))
    return by_seed, by_seed.var(ddof=1) / seeds, scale * without.mean(axis=1).var(ddof=1), both


def test_standard_errors_are_those_of_brute_force(monkeypatch):
    base, other = draw_arms(np.random.default_rng(0), MIXES["images differ most"], images=17, seeds=3)
    by_seed, seed, image, both = brute_force(base, other)
    whole = estimate_errors(pair_arms(base, other))
    monkeypatch.setattr(uncertainty, "BLOCK", 100)  # three images at a time
    parts = estimate_errors(pair_arms(base, other))
    for errors in (whole, parts):
        assert errors.seed[0] == pytest.approx(seed**0.5)
        assert errors.image[0] == pytest.approx((image - both) ** 0.5)
    margin = np.hypot(stats.t.ppf(0.975, 2) * seed**0.5, stats.t.ppf(0.975, 16) * (image - both) ** 0.5)
    assert whole.margin(0.95)[0] == pytest.approx(margin)
    found = compare_arms(base, other).difference
    assert found.by_seed == pytest.approx(by_seed)
    assert found.interval == pytest.approx((by_seed.mean() - margin, by_seed.mean() + margin))


def ours(base, other):
    return compare_arms(base, other).difference.interval


def only_images(base, other):
    """Seeds are taken as given."""
    by_seed, _, image, _ = brute_force(base, other)
    return around(by_seed, 0, image)


def only_seeds(base, other):
    """Images are taken as given."""
    by_seed, seed, _, _ = brute_force(base, other)
    return around(by_seed, seed, 0)


def counted_twice(base, other):
    """The noise of one seed on one image, in seeds and in images."""
    by_seed, seed, image, _ = brute_force(base, other)
    return around(by_seed, seed, image)


def unpaired(base, other):
    """Each arm on images of its own: what makes an image hard does not cancel."""
    by_seed, seed, _, _ = brute_force(base, other)
    return around(by_seed, seed, sum(brute_force(arm, [perfect(arm[0])] * len(arm))[2] for arm in (base, other)))


def perfect(areas):
    """Always 100 %, in every set of images that holds all classes."""
    return ImageAreas(areas.ids, areas.target, areas.target, areas.target)


def around(by_seed, seed, image):
    margin = np.hypot(stats.t.ppf(0.975, len(by_seed) - 1) * seed**0.5, Z * image**0.5)
    return by_seed.mean() - margin, by_seed.mean() + margin


def cover(mix: Mix, interval, repetitions: int) -> float:
    """Share of repetitions whose interval covers the true difference."""
    truth, covered = find_true_differences(mix)[0], 0
    for repetition in range(repetitions):
        low, high = interval(*draw_arms(np.random.default_rng([7, repetition]), mix))
        covered += low <= truth <= high
    return covered / repetitions


@pytest.mark.parametrize("name", MIXES)
def test_intervals_cover_the_true_difference(name):
    assert LEAST <= cover(MIXES[name], ours, 1000) <= MOST


@pytest.mark.parametrize(
    ("name", "interval", "wrong"),
    [
        ("seeds differ most", only_images, lambda share: share < LEAST - 0.2),
        ("images differ most", only_seeds, lambda share: share < LEAST - 0.2),
        ("both alike", unpaired, lambda share: share > MOST),
        ("noise of one seed on one image", counted_twice, lambda share: share > MOST),
    ],
    ids=["seeds ignored", "images ignored", "unpaired", "counted twice"],
)
def test_wrong_intervals_would_not_pass(name, interval, wrong):
    assert wrong(cover(MIXES[name], interval, 100))


@pytest.mark.parametrize("name", ["seeds differ most", "images differ most", "both alike"])
def test_without_a_difference_a_verdict_is_rare(name):
    mix, said = without_gain(MIXES[name]), 0
    for repetition in range(400):
        base, other = draw_arms(np.random.default_rng([8, repetition]), mix)
        said += compare_arms(base, other).verdict in ("helped", "hurt")
    assert said <= 20  # 5 %
