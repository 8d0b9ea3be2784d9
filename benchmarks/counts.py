"""Metric: counting one prediction of 375x500, against three histograms in numpy (as published)."""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Row, Size, alternately, repeated, row
from semiovs.evaluation import ConfusionMatrix


def rows(size: Size) -> list[Row]:
    out = []
    for classes in (21, 150):
        target, prediction = _maps(classes, (size.of(500, 30), size.of(375, 20)))
        _check(prediction, target, classes)
        out += _rows(prediction, target, classes, size)
    return out


def _maps(classes: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Patches of classes with a border to ignore, and the same patches moved a little: sorted runs, as in real
    masks.
    """
    rng = np.random.default_rng(classes)
    target = rng.integers(0, classes, (shape[1] // 5 + 1, shape[0] // 5 + 1)).repeat(5, 0).repeat(5, 1)
    target = target[: shape[1], : shape[0]].astype(np.uint8)
    prediction = np.roll(target, 2, axis=1)
    target[: shape[1] // 20] = 255
    return target, prediction


def _rows(prediction: np.ndarray, target: np.ndarray, classes: int, size: Size) -> list[Row]:
    deep = prediction.astype(np.int64), target.astype(np.int64)
    matrix, work = ConfusionMatrix(classes), size.of(40, 2)
    times = alternately(
        size,
        plain=repeated(lambda: areas(prediction, target, classes), work),
        ours=repeated(lambda: matrix.update(prediction, target), work),
        plain_deep=repeated(lambda: areas(*deep, classes), work),
        ours_deep=repeated(lambda: matrix.update(*deep), work),
    )
    return [
        row(f"metric update, {classes} classes, 8 bit", times, "ours", "plain", "ms", work=work),
        row(f"metric update, {classes} classes, 64 bit", times, "ours_deep", "plain_deep", "ms", work=work),
    ]


def areas(prediction: np.ndarray, target: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union of each class in pixels."""
    prediction, target = prediction.reshape(-1).copy(), target.reshape(-1)
    prediction[target == 255] = 255
    hit = prediction[prediction == target]
    edges = np.arange(classes + 1)
    common, output, truth = (np.histogram(values, bins=edges)[0] for values in (hit, prediction, target))
    return common, output + truth - common


def _check(prediction: np.ndarray, target: np.ndarray, classes: int) -> None:
    # The last bin of a histogram is closed on both sides, but the value after the last class occurs nowhere.
    matrix = ConfusionMatrix(classes)
    matrix.update(prediction, target)
    common, union = areas(prediction, target, classes)
    assert np.array_equal(np.diagonal(matrix.counts), common)
    assert np.allclose(matrix.iou(), 100 * common / (union + 1e-10))
