"""Boundary IoU, by its definition."""

import numpy as np
import pytest

from semiovs.run_page.boundary import choose_width, compute_iou, count_areas, find_band


def blobs(seed, *, shape=(40, 50), classes=4):
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, (8, 10)).astype(np.uint8).repeat(5, 0).repeat(5, 1)[: shape[0], : shape[1]]


@pytest.mark.parametrize("width", [1, 3])
def test_the_band_is_what_an_eroded_mask_lacks(width):
    """Cheng et al.: a mask minus its erosion, where the outside of the image belongs to no mask."""
    labels = blobs(0)
    found = find_band(labels, width)
    side = 2 * width + 1
    padded = np.pad(labels.astype(int), width, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    assert np.array_equal(found, (windows != labels[..., None, None]).any((2, 3)))
    assert 0 < found.mean() < 1


def test_the_width_is_two_percent_of_the_diagonal():
    assert choose_width(300, 400) == 10
    assert choose_width(3, 4) == 1


def test_a_right_prediction_scores_100_wherever_there_is_a_truth():
    truth = blobs(1)
    predicted = truth.copy()
    truth[10:20, 5:40] = 255
    predicted[10:20, 5:40] = blobs(2)[10:20, 5:40]
    areas, bands = count_areas(truth, predicted, 4)
    assert compute_iou(areas).tolist() == compute_iou(bands).tolist() == [100.0] * 4


def test_a_shifted_object_loses_more_at_its_boundary():
    truth = np.zeros((100, 100), np.uint8)
    truth[30:70, 30:70] = 1
    predicted = np.roll(truth, 2, 1)
    areas, bands = count_areas(truth, predicted, 3)
    iou, boundary = compute_iou(areas), compute_iou(bands)
    assert iou[1] == pytest.approx(100 * 40 * 38 / (40 * 42))
    # bands are 3 wide: rings of 40 x 40 around 34 x 34, shifted by 2
    ring = np.zeros((100, 100), bool)
    ring[30:70, 30:70] = True
    ring[33:67, 33:67] = False
    other = np.roll(ring, 2, 1)
    assert boundary[1] == pytest.approx(100 * (ring & other).sum() / (ring | other).sum())
    assert boundary[1] < iou[1] - 20
    assert np.isnan(iou[2])
    assert np.isnan(boundary[2])
