"""Confusion matrices of images one by one."""

import numpy as np
import pytest
import torch

from semiovs.config.schema import EvalConfig
from semiovs.errors import DataError
from semiovs.evaluation import ConfusionMatrix, ImageCounts, evaluate
from semiovs.evaluation.image_counts import ImageCounter
from semiovs.images.masks import MaskReader
from semiovs.models import Normalization
from unit import toy_data
from unit.evaluation.test_evaluate import Brightness


def count(predictions, targets, *, classes=3):
    matrix = ConfusionMatrix(classes)
    counter = ImageCounter(matrix)
    counter.update(predictions, targets)
    return matrix, counter.collect([f"image{i}" for i in range(len(targets))])


@pytest.fixture
def drawn():
    draws = torch.Generator().manual_seed(0)
    predictions = torch.randint(0, 5, (4, 6, 7), generator=draws)  # 3 and 4 are no classes
    targets = torch.randint(0, 3, (4, 6, 7), generator=draws)
    targets[:, :2] = 255
    targets[3] = 255
    return predictions, targets


def test_each_image_has_its_own_matrix_and_their_sum_is_the_whole(drawn):
    matrix, found = count(*drawn)
    dense = found.matrices()
    assert dense.shape == (4, 3, 4)
    assert np.array_equal(dense.sum(0)[:, :3], matrix.counts)
    assert np.array_equal(dense.sum(0)[:, 3], matrix.overflow)
    for index, (prediction, target) in enumerate(zip(*drawn, strict=True)):
        alone = ConfusionMatrix(3)
        alone.update(prediction, target)
        assert np.array_equal(dense[index, :, :3], alone.counts)
    assert not dense[3].any()


def test_areas_are_the_sums_of_the_matrices(drawn):
    _, found = count(*drawn)
    dense, (target, predicted, hit) = found.matrices(), found.areas()
    assert np.array_equal(target, dense.sum(2))
    assert np.array_equal(predicted, dense[:, :, :3].sum(1))
    assert np.array_equal(hit, np.diagonal(dense[:, :, :3], axis1=1, axis2=2))


def test_files_are_read_as_they_were_written_and_equal_counts_give_equal_bytes(drawn, tmp_path):
    _, found = count(*drawn)
    for name in ("a", "b"):
        found.write(tmp_path / "new" / f"{name}.npz")
    again = ImageCounts.read(tmp_path / "new" / "a.npz")
    assert again.ids == found.ids
    assert np.array_equal(again.matrices(), found.matrices())
    assert (tmp_path / "new" / "a.npz").read_bytes() == (tmp_path / "new" / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (np.array([[4, 0, 0, 1]]), "do not exist"),
        (np.array([[0, 3, 0, 1]]), "do not exist"),
        (np.array([[0, 0, 0, -1]]), "do not exist"),
        (np.zeros((1, 3), np.int64), "no counts of images"),
        (np.zeros((1, 4)), "no counts of images"),
    ],
)
def test_other_files_are_refused(entries, said, tmp_path):
    np.savez(tmp_path / "x.npz", ids=np.array(["a"] * 4), num_classes=np.int64(3), entries=entries)
    with pytest.raises(DataError, match=said):
        ImageCounts.read(tmp_path / "x.npz")


@pytest.mark.parametrize("together", [1, 3])
def test_an_evaluation_counts_each_image_by_its_id(tmp_path, together):
    records = toy_data.write_bright_and_dark(tmp_path)
    raw = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    found = evaluate(
        Brightness(),
        records,
        masks=MaskReader(("dark", "bright", "never")),
        normalization=raw,
        settings=EvalConfig(batch_size=together),
    )
    assert found.by_image.ids == tuple(record.id for record in records)
    assert found.by_image.matrices().sum() == found.pixels
    target, predicted, hit = (area.sum(0) for area in found.by_image.areas())
    assert found.iou == pytest.approx(tuple(100 * hit / (target + predicted - hit + 1e-10)))
