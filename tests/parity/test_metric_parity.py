"""Metrics and colours against arrays recorded from the published evaluation."""

from pathlib import Path

import numpy as np
import pytest

from semiovs.errors import DataError
from semiovs.evaluation import ConfusionMatrix
from semiovs.images.palette import voc_palette

GOLDEN = np.load(Path(__file__).parent / "goldens" / "deeplab" / "functions.npz")


def test_iou_equals_the_recorded_one():
    matrix = ConfusionMatrix(21)
    for output, target in zip(GOLDEN["iou_a/output"], GOLDEN["iou_a/target"], strict=True):
        matrix.update(output, target)
    hit = np.diagonal(matrix.counts)
    assert (hit == GOLDEN["iou_a/I"]).all()
    assert (matrix.counts.sum(1) + matrix.overflow == GOLDEN["iou_a/T"]).all()
    np.testing.assert_allclose(matrix.iou(), GOLDEN["iou_a/iou_class"], rtol=1e-12)
    assert matrix.miou() == pytest.approx(float(GOLDEN["iou_a/mIoU"]), rel=1e-12)


def test_a_mask_value_k_is_refused_where_the_published_code_counts_it_as_class_k_minus_1():
    output, target = GOLDEN["iou_b_labelK/output"], GOLDEN["iou_b_labelK/target"]
    assert (target == 21).any()
    matrix = ConfusionMatrix(21)
    matrix.update(output, target)
    with pytest.raises(DataError, match="neither a class"):
        matrix.miou()
    # All other classes are counted alike: their targets do not depend on the stray value.
    clean = ConfusionMatrix(21)
    clean.update(output, np.where(target == 21, 255, target).astype(np.uint8))
    assert (np.diagonal(clean.counts)[:20] == GOLDEN["iou_b_labelK/I"][:20]).all()
    assert (clean.counts.sum(1)[:20] == GOLDEN["iou_b_labelK/T"][:20]).all()
    assert GOLDEN["iou_b_labelK/T"][20] > clean.counts.sum(1)[20]


@pytest.mark.parametrize("name", ["pascal", "coco"])
def test_voc_colours_are_the_recorded_ones(name):
    assert (voc_palette() == GOLDEN[f"color_map/{name}"]).all()
