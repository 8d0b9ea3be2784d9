"""Comparisons worked out by hand, degenerate ones, and the rule of the verdict."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from semiovs.comparison.areas import ImageAreas
from semiovs.comparison.difference import compare_arms
from semiovs.comparison.sign_flips import compute_flip_p, find_smallest_p
from unit.simulated_arms import MIXES, draw_arms


def one_class(hits, total: int = 100) -> ImageAreas:
    """Images of a single class, of which so many pixels are right: the IoU is their share."""
    hit = np.asarray(hits).reshape(-1, 1)
    full = np.full_like(hit, total)
    return ImageAreas(tuple(f"{i:03d}" for i in range(len(hit))), full, hit, hit)


def arms(base, other, images: int = 20):
    """Arms whose seeds have the same share of hits in every image."""
    return [[one_class([value] * images) for value in arm] for arm in (base, other)]


def all_numbers(value) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in all_numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in all_numbers(part)]
    return [value] if isinstance(value, float) else []


def test_seeds_alone_give_the_interval_of_a_paired_t_test():
    base, other = [50, 52, 49, 50, 51, 53], [53, 54, 53, 52, 55, 56]
    found = compare_arms(*arms(base, other), names=("without", "with"), classes=["road"])
    assert found.base.by_seed == pytest.approx(base)
    assert found.base.mean == pytest.approx(np.mean(base))
    assert found.other.sd == pytest.approx(np.std(other, ddof=1))
    assert found.difference.by_seed == pytest.approx([3, 2, 4, 2, 4, 3])
    expected = stats.ttest_rel(other, base).confidence_interval()
    assert found.difference.interval == pytest.approx((expected.low, expected.high))
    assert found.difference.image_error == pytest.approx(0, abs=1e-9)
    assert found.p == found.smallest_p == 2 / 64
    assert found.verdict == "helped"
    assert found.difference.direction == "better"
    assert found.notes == ()


def test_images_alone_give_the_jackknife_of_the_mean():
    change = np.array([3, 5, 1, 4, 2, 3, 6, 0, 3, 3, 4, 2])
    base = [one_class([50] * 12) for _ in range(6)]
    other = [one_class(50 + change) for _ in range(6)]
    found = compare_arms(base, other)
    error = change.std(ddof=1) / 12**0.5
    margin = stats.t.ppf(0.975, 11) * error
    assert found.difference.image_error == pytest.approx(error)
    assert found.difference.interval == pytest.approx((3 - margin, 3 + margin))
    assert found.difference.detectable == pytest.approx((stats.t.ppf(0.975, 11) + stats.t.ppf(0.8, 11)) * error)
    assert found.verdict == "helped"


def test_what_both_arms_share_of_an_image_cancels():
    hard = np.random.default_rng(0).integers(10, 90, 30)
    base, other = [one_class(hard)] * 6, [one_class(hard + 2)] * 6
    low, high = compare_arms(base, other).difference.interval
    assert (low, high) == pytest.approx((2, 2), abs=1e-6)
    low, high = compare_arms([one_class(hard)] * 6, [one_class(hard[::-1] + 2)] * 6).difference.interval
    assert high - low > 10


def test_frames_of_one_film_count_once():
    change = np.array([3, 5, 1, 4, 2, 3, 6, 0, 3, 3, 4, 2])
    once = compare_arms([one_class([50] * 12)] * 6, [one_class(50 + change)] * 6)
    frames = np.repeat(change, 5)
    base, other = [one_class([50] * 60)] * 6, [one_class(50 + frames)] * 6
    groups = {name: f"film {i // 5:02d}" for i, name in enumerate(base[0].ids)}
    films = compare_arms(base, other, groups=groups)
    assert (films.images, films.groups, films.grouped) == (60, 12, True)
    assert films.difference.interval == pytest.approx(once.difference.interval)
    alone = compare_arms(base, other)
    assert np.ptp(alone.difference.interval) < 0.5 * np.ptp(films.difference.interval)


def test_the_same_numbers_each_time_and_mirrored_where_arms_change_places():
    base, other = draw_arms(np.random.default_rng(1), MIXES["both alike"], seeds=14)
    one, again, mirrored = compare_arms(base, other), compare_arms(base, other), compare_arms(other, base)
    shuffled = compare_arms(
        [ImageAreas(a.ids[::-1], a.target[::-1], a.predicted[::-1], a.hit[::-1]) for a in base], other
    )
    assert json.dumps(one.as_json()) == json.dumps(again.as_json()) == json.dumps(shuffled.as_json())
    assert mirrored.p == one.p
    for ours, theirs in zip(
        (one.difference, *(row.difference for row in one.classes)),
        (mirrored.difference, *(row.difference for row in mirrored.classes)),
        strict=True,
    ):
        assert theirs.mean == -ours.mean
        assert theirs.interval == (-ours.interval[1], -ours.interval[0])
        assert theirs.detectable == ours.detectable


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.5], 1),
        ([1, 2], 0.5),
        ([1, 2, 3], 0.25),
        ([1, 2, -0.5, 3, 1, 1], 4 / 64),
        ([1, 1, 1, 1, 1, 1], 2 / 64),
        ([0, 0, 0], 1),
        ([1, -1], 1),
        ([1] * 20, 2 / 10_001),
    ],
)
def test_sign_flips(differences, p):
    assert compute_flip_p(differences) == pytest.approx(p)
    assert compute_flip_p([-d for d in differences]) == pytest.approx(p)
    assert find_smallest_p(len(differences)) <= p + 1e-12


@pytest.mark.parametrize(
    ("base", "other", "verdict"),
    [
        ([50] * 6, [53, 54, 53, 52, 55, 56], "helped"),
        ([53, 54, 53, 52, 55, 56], [50] * 6, "hurt"),
        ([50] * 6, [53, 54, 53, 49, 55, 56], "cannot tell"),  # one seed against it: p = 4/64
        ([50] * 6, [60, 51, 51, 51, 51, 51], "cannot tell"),  # p = 2/64, but the interval holds 0
        ([50] * 5, [53, 54, 53, 52, 55], "descriptive"),
        ([50] * 6, [50] * 6, "cannot tell"),
    ],
)
def test_the_rule_of_the_verdict(base, other, verdict):
    found = compare_arms(*arms(base, other))
    assert found.verdict == found.as_json()["verdict"] == verdict
    assert compare_arms(*arms(base, other, images=9)).verdict == ("descriptive" if len(base) < 6 else "cannot tell")


def test_five_images_or_one_give_no_verdict():
    few = compare_arms(*arms([50] * 6, [53, 54, 53, 52, 55, 56], images=5))
    assert few.notes == ("5 images are too few for any verdict; it needs 10",)
    assert few.difference.interval[0] > 0
    one = compare_arms(*arms([50] * 6, [53, 54, 53, 52, 55, 56], images=1))
    assert (one.difference.interval, one.difference.image_error, one.difference.detectable) == (None, None, None)
    assert not one.difference.excludes_zero
    assert one.verdict == "cannot tell"
    assert one.notes == ("one image is too few for any verdict, and no interval can be known from it",)


def test_one_seed_is_described_over_images():
    change = np.array([3, 5, 1, 4, 2, 3, 6, 0, 3, 3, 4, 2])
    found = compare_arms([one_class([50] * 12)], [one_class(50 + change)])
    margin = stats.t.ppf(0.975, 11) * change.std(ddof=1) / 12**0.5
    assert found.difference.interval == pytest.approx((3 - margin, 3 + margin))
    assert (found.verdict, found.p, found.smallest_p) == ("descriptive", 1.0, 1.0)
    assert (found.base.sd, found.difference.seed_error) == (None, None)
    assert found.notes[0].startswith("one seed describes")


def test_the_same_weights_have_a_verdict_from_one_seed_on():
    change = np.array([3, 5, 1, 4, 2, 3, 6, 0, 3, 3, 4, 2])
    base, better, worse = ([one_class(50 + sign * change)] for sign in (0, 1, -1))
    assert compare_arms(base, better, same_weights=True).verdict == "helped"
    found = compare_arms(base, worse, same_weights=True)
    assert (found.verdict, found.classes[0].verdict) == ("hurt", "hurt")
    assert found.notes == ("one training was measured; what the same export costs another is not known",)
    assert found.as_json()["same_weights"] is True
    three = compare_arms(*arms([50, 51, 52], [49, 50, 51]), same_weights=True)
    assert (three.verdict, three.notes) == ("hurt", ())
    assert compare_arms(*arms([50], [49], images=9), same_weights=True).verdict == "cannot tell"
    assert compare_arms(*arms([50, 51, 52], [49, 52, 53]), same_weights=True).verdict == "cannot tell"


def test_equal_arms_differ_by_nothing():
    base, _ = draw_arms(np.random.default_rng(2), MIXES["both alike"])
    found = compare_arms(base, base)
    assert (found.difference.mean, found.difference.interval, found.p) == (0, (0, 0), 1)
    assert (found.verdict, found.difference.direction) == ("cannot tell", "same")
    assert np.isfinite(all_numbers(found.as_json())).all()
    json.dumps(found.as_json(), allow_nan=False)


def rare(images: int, holding: int, seeds: int = 6):
    """Class 0 everywhere and the same, class 1 better by 20 points in some images, class 2 predicted but never there."""
    target = np.zeros((images, 3), np.int64)
    target[:, 0], target[:holding, 1] = 100, 100

    def make(hits):
        hit = target * np.array([80, hits, 0]) // 100
        return ImageAreas(tuple(f"{i:03d}" for i in range(images)), target, hit + np.array([0, 0, 7]), hit)

    return [make(40) for _ in range(seeds)], [make(60) for _ in range(seeds)]


def test_a_class_that_never_occurs_is_left_out():
    found = compare_arms(*rare(30, 15), classes=["sky", "bird", "boat"])
    assert [(row.name, row.groups) for row in found.classes] == [("sky", 30), ("bird", 15)]
    assert found.absent == ("boat",)
    assert found.difference.mean == pytest.approx(10)
    all_of_them = compare_arms(*rare(30, 15), present_only=False)
    assert all_of_them.difference.mean == pytest.approx(20 / 3)
    assert len(all_of_them.classes) == 2
    assert np.isfinite(all_numbers(found.as_json())).all()


def test_a_class_in_one_image_has_no_interval_and_makes_that_of_the_mean_wide():
    found = compare_arms(*rare(30, 1))
    sky, bird = found.classes
    assert (bird.groups, bird.difference.interval, bird.verdict) == (1, None, "cannot tell")
    assert bird.difference.mean == pytest.approx(20)
    assert sky.difference.interval == pytest.approx((0, 0), abs=1e-9)
    assert found.verdict == "cannot tell"  # all rests on one image
    low, high = found.difference.interval
    assert low < 0 < high
    assert compare_arms(*rare(30, 12)).classes[1].verdict == "helped"
    assert compare_arms(*rare(30, 9)).classes[1].verdict == "cannot tell"


def test_intervals_of_classes_are_wider_the_more_are_compared():
    base, other = draw_arms(np.random.default_rng(5), MIXES["both alike"])
    rows = compare_arms(base, other).classes
    assert [row.difference.level for row in rows] == pytest.approx([0.99] * 5)
    picked = [
        [ImageAreas(a.ids, a.target[:, :1], a.predicted[:, :1], a.hit[:, :1]) for a in arm] for arm in (base, other)
    ]
    alone = compare_arms(*picked).classes[0].difference
    assert alone.level == pytest.approx(0.95)
    assert alone.mean == pytest.approx(rows[0].difference.mean)
    assert np.ptp(alone.interval) < np.ptp(rows[0].difference.interval)


def test_importing_it_needs_neither_torch_nor_scipy():
    code = "import sys, semiovs.comparison.verdict; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_wrong_number_of_names_is_refused():
    with pytest.raises(ValueError, match="2 names for 1 classes"):
        compare_arms(*arms([50], [51]), classes=["a", "b"])


def test_a_thousand_images_take_a_moment():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 5000, (1449, 21))
    ids = tuple(map(str, range(1449)))

    def make():
        hit = (target * rng.uniform(0.5, 0.9, target.shape)).astype(np.int64)
        return ImageAreas(ids, target, hit + rng.integers(0, 500, hit.shape), hit)

    base, other = [make() for _ in range(3)], [make() for _ in range(3)]
    start = time.perf_counter()
    compare_arms(base, other)
    assert time.perf_counter() - start < 10
