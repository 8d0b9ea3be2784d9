"""Scores of classes and images from the counts of each image."""

import numpy as np
import pytest
import torch

from semiovs.evaluation import ConfusionMatrix, ImageCounts
from semiovs.evaluation.image_counts import ImageCounter
from semiovs.run_page.scores import ImageScores

NAMES = ("sky", "road", "car")


def count(predictions, targets):
    matrix = ConfusionMatrix(3)
    counter = ImageCounter(matrix)
    counter.update(predictions, targets)
    return matrix, ImageScores(counter.collect([f"i{i}" for i in range(len(targets))]), NAMES)


@pytest.fixture
def drawn():
    draws = torch.Generator().manual_seed(0)
    predictions, targets = (
        torch.randint(0, 4, (6, 9, 7), generator=draws),
        torch.randint(0, 2, (6, 9, 7), generator=draws),
    )
    targets[:, :2] = 255
    targets[4] = 255  # nothing is known of this image
    targets[5, 3] = 2
    return count(predictions, targets)


def test_classes_are_scored_as_by_the_confusion_matrix(drawn):
    matrix, scores = drawn
    assert [row.iou for row in scores.classes] == pytest.approx(matrix.iou().tolist())
    assert [row.recall for row in scores.classes] == pytest.approx(matrix.class_accuracy().tolist())
    assert [row.pixels for row in scores.classes] == matrix._count_areas()[0].tolist()
    assert [row.images for row in scores.classes] == [5, 5, 1]
    assert sum(row.share for row in scores.classes) == pytest.approx(100)


def test_an_image_is_scored_over_the_classes_in_its_mask():
    targets = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 255]], [[255, 255, 255, 255]]])
    predictions = torch.tensor([[[0, 0, 1, 0]], [[0, 0, 2, 1]], [[0, 0, 0, 0]]])
    _, scores = count(predictions, targets)
    assert scores.by_image == {"i0": pytest.approx(100 * (2 / 3 + 1 / 2) / 2), "i1": pytest.approx(100 * 2 / 3)}


def test_the_most_confused_pairs_come_first():
    targets = torch.tensor([[[0] * 10, [1] * 10]])
    predictions = torch.tensor([[[0] * 7 + [2] * 3, [1] * 4 + [2] * 5 + [3]]])  # 3 is no class
    _, scores = count(predictions, targets)
    found = [(pair.truth, pair.called, pair.pixels, pair.share) for pair in scores.list_confusions(10)]
    assert found == [("road", "car", 5, 50.0), ("sky", "car", 3, 30.0)]
    assert len(scores.list_confusions(1)) == 1


@pytest.mark.parametrize("images", [1, 3, 7, 10, 30])
def test_no_image_is_an_example_twice(images):
    image, hit = np.arange(images), np.arange(1, images + 1)
    kinds = ((0, hit), (1, 40 - hit))  # class called, pixels; all of class 0
    entries = np.concatenate([np.stack([image, 0 * image, 0 * image + called, pixels], 1) for called, pixels in kinds])
    scores = ImageScores(ImageCounts(tuple(f"i{i:02}" for i in range(images)), 2, entries), NAMES[:2])
    found = scores.choose_examples(4, 3)
    chosen = [name for names in found.values() for name in names]
    assert len(set(chosen)) == len(chosen) == min(images, 10)
    assert found["worst"] == [f"i{i:02}" for i in range(min(images, 4))]
    if images == 30:
        assert found["best"] == ["i29", "i28", "i27"]
        assert found["typical"] == ["i14", "i15", "i16"]


def test_the_interval_covers_the_miou_of_all_images():
    """On draws from images whose mIoU is known; images vary as much as the classes in them."""
    generator = np.random.default_rng(0)
    truth = generator.dirichlet((1, 2, 4), 4000)
    areas = (10_000 * truth).astype(np.int64)
    hit = (areas * generator.beta(4, 2, areas.shape)).astype(np.int64)
    whole = _make(areas, hit)
    covered = 0
    for _ in range(200):
        some = generator.choice(4000, 40, replace=False)
        found = _make(areas[some], hit[some])
        covered += abs(found.miou - whole.miou) < found.miou_margin
    assert 0.9 <= covered / 200 <= 0.99


def test_one_image_has_no_interval():
    alone = _make(np.array([[50, 50]]), np.array([[40, 30]]))
    assert np.isnan(alone.miou_margin)
    assert alone.miou == pytest.approx((40 / 70 + 30 / 60) * 50)


def _make(areas, hit):
    """Scores of images (N, K) in which what a class lacks is called the next one."""
    classes = areas.shape[1]
    entries = []
    for image, (row, right) in enumerate(zip(areas, hit, strict=True)):
        for k in range(classes):
            entries += [(image, k, k, right[k]), (image, k, (k + 1) % classes, row[k] - right[k])]
    ids = tuple(f"i{n}" for n in range(len(areas)))
    return ImageScores(ImageCounts(ids, classes, np.array(entries, np.int64)), [f"c{k}" for k in range(classes)])
