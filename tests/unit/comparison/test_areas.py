"""Areas of images against the confusion matrix, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from semiovs.comparison.areas import ImageAreas
from semiovs.comparison.pairing import pair_arms
from semiovs.errors import DataError
from semiovs.evaluation import ConfusionMatrix


def draw(seed: int, images: int = 7, classes: int = 4, seen: int = 3) -> tuple[ConfusionMatrix, ImageAreas]:
    """One matrix of all images, and their areas; the last class occurs in no mask; some predictions are no class."""
    rng = np.random.default_rng(seed)
    together, counts, outside = ConfusionMatrix(classes), [], []
    for _ in range(images):
        target = rng.choice([*range(seen), 255], (8, 8)).astype(np.uint8)
        predicted = rng.integers(0, classes + 1, (8, 8)).astype(np.uint8)
        one = ConfusionMatrix(classes)
        for matrix in (one, together):
            matrix.update(predicted, target)
        counts.append(one.counts)
        outside.append(one.overflow)
    return together, ImageAreas.from_confusion([f"{i}" for i in range(images)], np.array(counts), np.array(outside))


def test_areas_give_the_scores_of_the_confusion_matrix():
    matrix, areas = draw(0)
    assert matrix.overflow.sum() > 0
    assert areas.classes == 4
    np.testing.assert_array_equal(areas.iou(), matrix.iou())
    np.testing.assert_array_equal(areas.present(), [True, True, True, False])
    assert areas.miou() == matrix.miou()
    assert areas.miou(present_only=True) == matrix.miou(present_only=True) > areas.miou()


def test_pairs_have_the_same_scores_whatever_the_order_of_images():
    _, base = draw(0)
    order = np.random.default_rng(3).permutation(len(base.ids))
    mixed = ImageAreas(tuple(base.ids[i] for i in order), base.target[order], base.predicted[order], base.hit[order])
    for present_only in (True, False):
        score = pair_arms([base], [mixed], present_only=present_only).score()
        np.testing.assert_array_equal(score[0], score[1])
        assert score[0, 0, 0] == base.miou(present_only)
        np.testing.assert_array_equal(score[0, 0, 1:], base.iou())


def test_images_of_a_group_are_one():
    _, base = draw(0)
    groups = {name: "film" if name in "025" else f"photo {name}" for name in base.ids}
    pair = pair_arms([base], [base], groups)
    assert pair.groups == 5
    np.testing.assert_array_equal(pair.target[0], base.target[[0, 2, 5]].sum(axis=0))  # labels in their order
    np.testing.assert_array_equal(pair.hit[1, 0, 0], base.hit[[0, 2, 5]].sum(axis=0))
    np.testing.assert_array_equal(pair.target[1:], base.target[[1, 3, 4, 6]])
    left = pair.score_without(slice(0, 1))[0, 0, 0, 0]
    rest = ImageAreas(tuple("1346"), *(part[[1, 3, 4, 6]] for part in (base.target, base.predicted, base.hit)))
    assert left == rest.miou(present_only=True)


ONE = np.array([[5, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageAreas(("a",), ONE, ONE, ONE[:, :1]), r"are \(1, 2\), \(1, 2\), \(1, 1\), not \(N, K\)"),
        (lambda: ImageAreas(("a", "b"), ONE, ONE, ONE), "areas of 2 images"),
        (lambda: ImageAreas((), ONE[:0], ONE[:0], ONE[:0]), "nothing was evaluated"),
        (lambda: ImageAreas(("a", "a"), *[np.vstack([ONE, ONE])] * 3), "image 'a' was evaluated twice"),
        (lambda: ImageAreas(("a",), ONE, ONE, ONE + 1), "image 'a': hits are negative, or more"),
        (lambda: ImageAreas.from_confusion(["a"], np.zeros((1, 2, 3))), r"\(1, 2, 3\), not \(N, K, K\)"),
        (lambda: ImageAreas.from_confusion(["a"], np.ones((1, 2, 2)), np.zeros(2)), r"outside the classes are \(2,\)"),
    ],
)
def test_areas_that_cannot_be_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(
    ("base", "other", "groups", "message"),
    [
        ([], [], None, "0 and 0 seeds"),
        ([0, 0], [0], None, "2 and 1 seeds"),
        ([0], [1], None, "image 'a' was not evaluated with every arm"),
        ([0], [2], None, "image 'a' was evaluated with different masks"),
        ([0], [3], None, "2 and 3 classes"),
        ([0], [0], {"b": "x"}, "image 'a' has no group"),
        ([4], [4], None, "hold no class at all"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(base, other, groups, message):
    empty = np.zeros((1, 2), np.int64)
    made = [
        ImageAreas(("a",), ONE, ONE, ONE),
        ImageAreas(("b",), ONE, ONE, ONE),
        ImageAreas(("a",), ONE + 1, ONE, ONE),
        ImageAreas(("a",), *[np.array([[5, 0, 0]])] * 3),
        ImageAreas(("a",), empty, empty, empty),
    ]
    with pytest.raises(DataError, match=message):
        pair_arms([made[i] for i in base], [made[i] for i in other], groups)
