"""Counts of a teacher's answers against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from semiovs.calibration.counts import ScoreCounts, find_percentile, quantize_scores
from semiovs.errors import DataError

K = 3


def answers(seed: int, shape: tuple[int, int] = (13, 17)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label, truth = (rng.choice(np.array([0, 1, 2, 255], np.uint8), shape) for _ in range(2))
    return label, rng.random(shape).astype(np.float32), truth


def filled(images: int = 4) -> tuple[ScoreCounts, list]:
    tally, kept = ScoreCounts(K), [answers(i) for i in range(images)]
    for i, (label, score, truth) in enumerate(kept):
        tally.add(f"i{i}", label, score, truth)
    return tally, kept


def test_counts_of_a_class_are_those_of_its_pixels():
    tally, kept = filled()
    for k in range(K):
        counts = tally.table.select_class(k)
        assert counts.images.tolist() == [0, 1, 2, 3]
        for i, (label, score, truth) in enumerate(kept):
            level = np.rint(score * 255).astype(int)
            for name, part in {
                "right": (label == k) & (truth == k),
                "wrong": (label == k) & (truth != k) & (truth != 255),
                "void": (label == k) & (truth == 255),
            }.items():
                assert (getattr(counts, name)[i] == np.bincount(level[part], minlength=256)).all(), name
            assert counts.area[i] == (truth != 255).sum()
            assert counts.presence[i] == np.sort(level[label == k])[int(np.ceil(0.99 * (label == k).sum())) - 1]


def test_all_classes_are_the_sum():
    tally, _ = filled()
    everyone = tally.table.select_all_classes()
    for name in ("right", "wrong", "void"):
        parts = [getattr(tally.table.select_class(k), name).sum(axis=0) for k in range(K)]
        assert (getattr(everyone, name).sum(axis=0) == sum(parts)).all()


def test_confusion_and_what_a_threshold_leaves_of_it():
    tally, kept = filled()
    wanted = np.zeros((K, K + 1), int)
    for label, _, truth in kept:
        known = truth != 255
        np.add.at(wanted, (truth[known], np.where(label == 255, K, label)[known]), 1)
    assert (tally.table.confusion() == wanted).all()
    none = tally.table.confusion(np.zeros(len(tally.table.count), bool))
    assert none[:, :K].sum() == 0
    assert (none[:, K] == wanted.sum(axis=1)).all()


def test_an_image_without_the_class_is_not_listed_and_void_alone_is_not_judged():
    tally = ScoreCounts(K)
    score = np.full((2, 2), 0.5, np.float32)
    tally.add("a", np.zeros((2, 2), np.uint8), score, np.zeros((2, 2), np.uint8))
    tally.add("b", np.ones((2, 2), np.uint8), score, np.full((2, 2), 255, np.uint8))
    assert tally.table.select_class(0).images.tolist() == [0]
    assert tally.table.select_class(1).images.tolist() == [1]
    assert tally.table.select_class(1).with_truth().images.tolist() == []
    assert tally.table.select_class(2).images.tolist() == []


def test_folds_and_growth():
    tally, kept = filled()
    before = tally.digest
    assert (tally.subset([2]).table.confusion() == filled()[0].subset([2]).table.confusion()).all()
    total = sum(tally.subset([i]).table.confusion() for i in range(4))
    assert (total == tally.table.confusion()).all()
    tally.add("new", *kept[0])
    assert tally.table.images == 5
    assert tally.digest != before


def test_percentile_of_nothing_is_zero():
    assert find_percentile(np.zeros(256, np.int64)) == 0


def test_levels_are_those_of_a_store(tmp_path):
    from semiovs.store import PseudoLabelStore
    from semiovs.vocab import Vocabulary

    label, score, _ = answers(9)
    store = PseudoLabelStore.create(tmp_path / "s", Vocabulary.of(["a", "b", "c"]), teacher={"name": "x"})
    store.add("i", label, score)
    assert (store.confidence("i") == quantize_scores(score)).all()
    assert quantize_scores(store.confidence("i")) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label, score, truth: (label, np.full_like(score, np.nan), truth), "hold NaN"),
        (lambda label, score, truth: (label, score * 3, truth), "not within"),
        (lambda label, score, truth: (label, score - 1, truth), "not within"),
        (lambda label, score, truth: (label, score[:-1], truth), "differ in size"),
        (lambda label, score, truth: (label + np.uint8(7), score, truth), "is no class of 0..2"),
        (lambda label, score, truth: (label, score, np.full_like(truth, 3)), "is no class of 0..2"),
    ],
)
def test_what_is_no_answer_is_refused(change, message):
    with pytest.raises(DataError, match=message) as caught:
        ScoreCounts(K).add("street/7", *change(*answers(0)))
    assert "street/7" in str(caught.value)
    assert "\n" not in str(caught.value)
