"""Nested, fair, reproducible lists out of one labelled set."""

from __future__ import annotations

import numpy as np
import pytest

from semiovs.audit.split import draw_order, make_split
from semiovs.errors import DataError
from semiovs.similarity.groups import connected

N, K = 240, 6
IDS = [f"cam{i % 4}/{i:04d}" for i in range(N)]


@pytest.fixture(scope="module")
def pixels():
    """Class pixels of images of which only a few show the last two classes."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 1000, (N, K)) * (rng.random((N, K)) < 0.7)
    for name, share in ((4, 0.1), (5, 0.03)):
        counts[rng.random(N) > share, name] = 0
    counts[:, 0] += 500
    return counts.astype(np.int64)


def off(pixels, places):
    shares = pixels.sum(axis=0) / pixels.sum()
    return float(abs(pixels[places].sum(axis=0) / pixels[places].sum() - shares).sum() / 2)


def test_parts_are_nested_disjoint_and_complete(pixels):
    made = make_split(pixels, IDS, {"1_8": 1 / 8, "1_4": 0.25, "50": 50, "all": 1.0}, val=0.2, held_out=12)
    assert sorted([*made.train, *made.val, *made.held_out]) == list(range(N))
    assert (len(made.val), len(made.held_out), len(made.train)) == (48, 12, 180)
    assert {name: len(places) for name, places in made.labeled.items()} == {"1_8": 22, "1_4": 45, "50": 50, "all": 180}
    assert set(made.labeled["1_8"]) < set(made.labeled["1_4"]) < set(made.labeled["50"]) < set(made.train)
    for name, places in made.labeled.items():
        assert sorted([*places, *made.unlabeled(name)]) == sorted(made.train)


def test_a_small_part_holds_the_classes_more_fairly_than_chance(pixels):
    made = make_split(pixels, IDS, {"6": 6, "40": 40}, val=30)
    rng = np.random.default_rng(1)
    for places in (made.labeled["40"], made.val):
        chance = [off(pixels, rng.choice(N, len(places), replace=False)) for _ in range(200)]
        assert off(pixels, places) < np.quantile(chance, 0.05)
    assert (pixels[made.labeled["6"]].sum(axis=0) > 0).all()  # the rare class too: 3 % of the images


def test_a_pure_function_of_ids_and_seed(pixels):
    def named(order, seed):
        made = make_split(pixels[order], [IDS[i] for i in order], {"30": 30}, val=0.1, seed=seed)
        return [IDS[order[i]] for i in made.labeled["30"]], {IDS[order[i]] for i in made.val}

    straight, turned = np.arange(N), np.random.default_rng(3).permutation(N)
    assert named(straight, 0) == named(turned, 0)
    assert named(straight, 0) != named(straight, 1)


def test_groups_stay_on_one_side(pixels):
    groups = [[i for i, name in enumerate(IDS) if name.startswith(f"cam{k}")] for k in range(4)]
    small = [[1, 5, 9], [2, 6]]
    made = make_split(pixels, IDS, {"10": 10}, val=0.3, held_out=60, together=groups)
    assert len(made.val) == 60
    assert len({IDS[i][:4] for i in made.val}) == 1  # two cameras would be half of the images
    assert {IDS[i][:4] for i in made.val}.isdisjoint(IDS[i][:4] for i in (*made.train, *made.held_out))
    made = make_split(pixels, IDS, {"10": 10}, val=0.5, together=small)
    for group in small:
        assert len({index in made.val for index in group}) == 1


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        ({"a": 500}, {}, "a: 500 of 240 images"),
        ({"a": 10}, {"val": 240}, "no images are left"),
        ({"a": 10}, {"val": 241}, "val: 241 of 240"),
        ({"a": 0}, {}, "a: no image"),
        ({"a": 10}, {"held_out": -1}, "held_out: -1"),
    ],
)
def test_parts_that_cannot_be(pixels, sizes, options, words):
    with pytest.raises(DataError, match=words):
        make_split(pixels, IDS, sizes, **options)


def test_images_without_any_class_are_drawn_too():
    assert sorted(draw_order(np.zeros((5, 3), np.int64), list("abcde"), "s")) == [0, 1, 2, 3, 4]


def test_connected():
    pairs = np.array([[4, 4], [5, 3], [1, 2], [3, 0], [6, 6]])
    assert connected(pairs) == [[0, 3, 5], [1, 2]]  # nobody is alone in a group
    assert connected(np.zeros((0, 2), np.int64)) == []
