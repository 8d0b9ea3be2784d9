"""Reliability, precision-coverage curves and the cross-validated score of a teacher."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from semiovs.calibration.counts import ScoreCounts
from semiovs.calibration.fit import fit
from semiovs.calibration.reliability import Reliability, compute_precision_coverage, find_worst, score_teacher
from semiovs.calibration.verdict import Verdict, compute_chance
from semiovs.evaluation.confusion import ConfusionMatrix
from semiovs.similarity.groups import assign_folds
from semiovs.vocab import Vocabulary
from unit.toy_answers import WHO, WORDS, noisy


def test_reliability_by_hand():
    right, total = np.zeros(256, np.int64), np.zeros(256, np.int64)
    total[[51, 204, 255]] = 100, 100, 200  # said 0.2, 0.8, 1.0
    right[[51, 204, 255]] = 50, 80, 180
    found = Reliability.of(right, total, bins=5)
    assert np.nan_to_num(found.share).tolist() == [0, 0.25, 0, 0, 0.75]
    assert found.accuracy[1] == pytest.approx(0.5)
    assert found.confidence[4] == pytest.approx((0.8 + 2 * 1.0) / 3)
    assert found.ece == pytest.approx(0.25 * 0.3 + 0.75 * abs(260 / 300 - 2.8 / 3))
    assert found.as_json()["accuracy"][0] is None


@pytest.mark.parametrize(("level", "silent"), [(255, True), (254, False)])
def test_masks_without_scores_tell_nothing(level, silent):
    total = np.zeros(256, np.int64)
    total[[255, level]] = 100
    assert Reliability.of(total // 2, total).tells_nothing is silent


def test_precision_and_coverage_by_hand():
    tally = ScoreCounts(2)
    label = np.zeros((1, 4), np.uint8)
    tally.add("a", label, np.array([[0.1, 0.5, 0.5, 0.9]]), np.array([[1, 1, 0, 0]], np.uint8))
    curve = compute_precision_coverage(tally, 0)
    assert (curve.coverage[0], curve.precision[0]) == (1, 0.5)
    assert (curve.coverage[100], curve.precision[100]) == (0.75, pytest.approx(2 / 3))
    assert (curve.coverage[200], curve.precision[200]) == (0.25, 1)
    assert curve.coverage[256] == 0
    assert np.isnan(curve.precision[256])


def test_the_raw_score_is_that_of_evaluate():
    rng = np.random.default_rng(0)
    tally, matrix = ScoreCounts(4), ConfusionMatrix(4)
    for i in range(12):
        label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (20, 20))
        truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), (20, 20))
        tally.add(f"{i}", label, rng.random(label.shape).astype(np.float32), truth)
        matrix.update(label, truth)
    score = score_teacher(tally, partial(fit, vocabulary=WORDS, teacher=WHO), risk=0.1)
    assert score.miou == pytest.approx(matrix.miou(present_only=True))
    assert [c.iou for c in score.classes] == pytest.approx(matrix.iou().tolist())


def test_each_image_is_judged_without_itself():
    """Refit sees no image of the fold that it is measured on, and all images are measured once."""
    tally, seen = noisy(20), []

    def refit(part):
        seen.append({image.id for image in part.images})
        return fit(part, WORDS, WHO)

    held = score_teacher(tally, refit, risk=0.1, folds=4).held
    fold = assign_folds([image.id for image in tally.images], 4)
    assert held.folds == len(seen) == 4
    for f, train in enumerate(seen):
        assert train == {image.id for image, g in zip(tally.images, fold, strict=True) if g != f}


def test_calibrated_labels_keep_the_risk_on_left_out_images():
    tally = noisy(40)
    score = score_teacher(tally, partial(fit, vocabulary=WORDS, teacher=WHO, risk=0.1), risk=0.1)
    assert score.precision < 0.7
    assert score.held.precision > 0.88
    assert 0.05 < score.held.coverage < 0.8
    assert score.held.reliability.ece < 0.03 < score.reliability.ece
    assert all(c.loss < 0.12 for c in score.classes[:3])
    assert score.classes[3].coverage == 0
    assert np.isnan(score.classes[3].kept_precision)
    strict, kept = score.held.miou_strict, score.held.miou
    assert strict < score.miou < kept


def test_too_few_images_are_left_out_one_at_a_time_or_not_at_all():
    refit = partial(fit, vocabulary=WORDS, teacher=WHO, risk=0.1)
    assert score_teacher(noisy(10), refit, risk=0.1).held.folds == 10
    assert score_teacher(noisy(9), refit, risk=0.1).held is None
    one = partial(fit, vocabulary=WORDS, teacher=WHO, risk=0.5)
    assert score_teacher(noisy(1), one, risk=0.5).held is None


@pytest.mark.parametrize(("shares", "chance"), [([50, 50], 100 / 3), ([98, 1, 1], 98 / 3), ([0, 7], 100)])
def test_chance_by_hand(shares, chance):
    """Halves answered at random: a quarter of the pixels right of three quarters; a class that is not there is none."""
    confusion = np.zeros((len(shares), len(shares) + 1), np.int64)
    confusion[:, 0] = shares
    assert compute_chance(confusion) == pytest.approx(chance, abs=0.02)


@pytest.mark.parametrize(
    ("miou", "kept", "unusable", "useless"),
    [
        (3.9, 0.0, True, True),
        (3.9, 0.5, False, True),
        (60, 0.0, True, True),
        (60, 0.0, False, False),
        (60, 0.5, True, False),
    ],
)
def test_verdict(miou, kept, unusable, useless):
    """Classes that are left out because they are in too few images say nothing against a teacher."""
    verdict = Verdict(12, miou, 2.0, kept, 0.1, unusable)
    assert verdict.useless == useless
    assert verdict.line.startswith(f"Do not use it: {miou:.1f} mIoU on the 12 labelled images")
    assert f"{100 * kept:.0f} % kept" in verdict.line


def test_worst_images():
    assert find_worst(np.array([0.5, np.nan, 0.2, 0.9]), 2) == [2, 0]
    assert find_worst(np.array([0.5, np.nan]), 5) == [0]


def test_a_thousand_images_fit_quickly():
    """A thousand images of 21 classes are one small table, not a thousand images."""
    names = tuple(f"c{i}" for i in range(21))
    rng, tally = np.random.default_rng(0), ScoreCounts(21)
    label = rng.integers(0, 21, (24, 24)).astype(np.uint8)
    for i in range(1000):
        truth = np.where(rng.random(label.shape) < 0.8, label, 0).astype(np.uint8)
        tally.add(f"i{i}", label, rng.random(label.shape).astype(np.float32), truth)
    made = fit(tally, Vocabulary.of(names), WHO)
    assert len(made.classes) == 21
    assert sum(i.keys.nbytes + i.counts.nbytes for i in tally.images) < 8e6
