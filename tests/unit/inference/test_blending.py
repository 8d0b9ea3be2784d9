"""Blended windows: every pixel once, weights that add up, nothing lost on the way through the file."""

import itertools

import numpy as np
import pytest
import torch

from semiovs.inference import blending
from semiovs.inference.blending import blend_windows, fade_windows, place_windows


@pytest.mark.parametrize("length", [1, 31, 32, 33, 40, 63, 64, 65, 100, 257])
@pytest.mark.parametrize("overlap", [0, 4, 16, 31])
def test_windows_cover_everything_and_their_weights_add_up(length, overlap):
    spans = place_windows(length, 32, overlap)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    assert {span.stop - span.start for span in spans} == {min(length, 32)}
    shared = [before.stop - after.start for before, after in itertools.pairwise(spans)]
    assert min(shared, default=overlap) >= overlap
    total = torch.zeros(length)
    for span, ramp in zip(spans, fade_windows(spans, overlap), strict=True):
        total[span] += ramp
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def join(blocks, classes, size):
    whole, seen = torch.full((classes, *size), torch.nan), torch.zeros(size, dtype=torch.int64)
    for rows, columns, part in blocks:
        whole[:, rows, columns] = part
        seen[rows, columns] += 1
    return whole, seen


@pytest.mark.parametrize("size", [(50, 70), (32, 32), (20, 90), (129, 33), (7, 5)])
@pytest.mark.parametrize("overlap", [0, 5, 20, 30])
@pytest.mark.parametrize("held", [0, 1 << 20])
def test_scores_of_single_pixels_come_back(size, overlap, held, monkeypatch, tmp_path):
    monkeypatch.setattr(blending, "_HELD", held or 1)
    scores = torch.rand(3, *size)
    options = {"classes": 3, "window": 32, "overlap": overlap, "spill": tmp_path}
    whole, seen = join(blend_windows(lambda rows, columns: scores[:, rows, columns], size, **options), 3, size)
    assert (seen == 1).all()
    torch.testing.assert_close(whole, scores)
    assert not list(tmp_path.iterdir())


def test_a_difference_between_windows_fades():
    """Each window says its own number: no step between neighbours is larger than the ramp's."""
    numbers = iter(range(1000))
    constant = lambda rows, columns: torch.full((1, 32, 32), float(next(numbers) % 2))  # noqa: E731
    whole, _ = join(blend_windows(constant, (32, 92), classes=1, window=32, overlap=12), 1, (32, 92))
    steps = whole[0, 0].diff().abs()
    assert whole.max() == 1
    assert whole.min() == 0
    assert steps.max() < 1 / 10


def test_windows_without_anything_are_left_out():
    def find(rows, columns):
        return None if columns.start == 0 else torch.ones(2, 32, 32)

    whole, _ = join(blend_windows(find, (32, 60), classes=2, window=32, overlap=4), 2, (32, 60))
    assert (whole[:, :, :28] == 0).all()
    assert (whole[:, :, 32:] == 1).all()
