"""Confusion counts: exact, with ignore and out-of-range values in their own bins."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiovs.errors import DataError
from semiovs.evaluation import ConfusionMatrix


def _naive(prediction, target, k):
    counts = np.zeros((k, k), np.int64)
    for p, t in zip(prediction.ravel(), target.ravel(), strict=True):
        if 0 <= t < k and 0 <= p < k:
            counts[t, p] += 1
    return counts


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 255), st.integers(0, 10_000), st.sampled_from(["uint8", "int64", "int32"]))
def test_counts_equal_a_naive_loop(k, seed, dtype):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, k, (7, 9))
    target[rng.random((7, 9)) < 0.2] = 255
    prediction = rng.integers(0, 256, (7, 9))
    matrix = ConfusionMatrix(k)
    matrix.update(prediction.astype(dtype), target.astype(dtype))
    matrix.update(torch.from_numpy(prediction), torch.from_numpy(target.astype(np.uint8)))
    assert (matrix.counts == 2 * _naive(prediction, target, k)).all()
    assert matrix.pixels == 2 * (target != 255).sum()
    assert matrix.overflow.sum() == 2 * ((target != 255) & (prediction >= k)).sum()
    assert matrix.counts.dtype == np.int64


def test_a_prediction_outside_is_a_miss_and_never_the_last_class():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([2, 3, 255, 0], np.uint8), np.array([2, 2, 2, 0], np.uint8))
    assert matrix.overflow.tolist() == [0, 0, 2]
    np.testing.assert_allclose(matrix.iou(), [100, 0, 100 / 3])
    assert matrix.pixel_accuracy() == 50
    np.testing.assert_allclose(matrix.class_accuracy(), [100, 0, 100 / 3])


def test_negative_values_are_outside():
    matrix = ConfusionMatrix(2)
    matrix.update(torch.tensor([-1, 1]), torch.tensor([1, 1]))
    assert matrix.overflow.tolist() == [0, 1]
    matrix.update(torch.tensor([1]), torch.tensor([-1]))
    with pytest.raises(DataError, match="1 mask pixels"):
        matrix.iou()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize("read", ["iou", "miou", "pixel_accuracy", "class_accuracy", "check", "present"])
def test_target_equal_to_k_is_refused_at_read_out(dtype, read):
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 1], dtype), np.array([0, 3], dtype))
    with pytest.raises(DataError, match=r"0\.\.2"):
        getattr(matrix, read)()


def test_absent_classes_count_zero_or_are_left_out():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 0, 1, 3], np.uint8), np.array([0, 0, 1, 1], np.uint8))
    np.testing.assert_allclose(matrix.iou(), [100, 50, 0, 0])
    assert matrix.miou() == pytest.approx(37.5)
    assert matrix.miou(present_only=True) == pytest.approx(75)
    assert matrix.present().tolist() == [True, True, False, False]


def test_nothing_counted_gives_zero_not_nan():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros(4, np.uint8), np.full(4, 255, np.uint8))
    assert (matrix.miou(), matrix.miou(present_only=True), matrix.pixel_accuracy()) == (0, 0, 0)


def test_shapes_must_agree():
    with pytest.raises(DataError, match="2x3 but its mask is 3x2"):
        ConfusionMatrix(2).update(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_ignore_must_not_be_a_class():
    with pytest.raises(ValueError, match="overlap"):
        ConfusionMatrix(3, ignore=2)
    matrix = ConfusionMatrix(3, ignore=-1)
    matrix.update(torch.tensor([0, 1]), torch.tensor([0, -1]))
    assert matrix.pixels == 1


def test_reduce_without_processes_changes_nothing():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros(4, np.uint8), np.zeros(4, np.uint8))
    matrix.reduce()
    assert matrix.pixels == 4


def test_read_only_and_strided_arrays_are_taken():
    labels = np.zeros((4, 6), np.uint16)[:, ::2]
    labels.flags.writeable = False
    matrix = ConfusionMatrix(2)
    matrix.update(labels, labels.astype(np.uint8))
    assert matrix.pixels == 12
