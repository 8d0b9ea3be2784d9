"""Rare classes: which are rare, crops that show them, regions that are pasted; draws are a pure function."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from semiovs.data import StepStream, ViewRequest, batch_digest
from semiovs.data.batch import Labeled
from semiovs.data.draws import ItemDraws
from semiovs.data.rare_classes import RareClasses
from semiovs.data.transforms import Geometry
from semiovs.engine.before_training import describe_rare_classes
from unit import toy_data

RARE = RareClasses.of([900, 60, 40, 0], crops=1.0, paste=1.0)


def test_rare_is_below_the_mean_and_weighs_by_the_inverse_of_its_share() -> None:
    assert RARE.rarity == pytest.approx((0.0, 1000 / 60, 1000 / 40, 0.0))
    assert RareClasses.of([5, 5]).rarity == (0.0, 0.0)
    assert RareClasses.of([7, 0]).rarity == (0.0, 0.0)
    assert RareClasses.of([0, 0]).rarity == (0.0, 0.0)


def test_classes_are_drawn_by_inverse_frequency_among_those_there() -> None:
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    drawn = Counter(RARE.draw_class(labels, ItemDraws(seed)) for seed in range(4000))
    assert set(drawn) == {1, 2}
    assert drawn[2] / 4000 == pytest.approx(0.6, abs=0.03)  # 1/40 to 1/60
    assert {RARE.draw_class(np.array([[0, 1, 255]], np.uint8), ItemDraws(seed)) for seed in range(20)} == {1}
    assert RARE.draw_class(np.array([[0, 3, 255]], np.uint8), ItemDraws(0)) is None


@pytest.mark.parametrize("flip", [False, True])
def test_the_window_shows_a_pixel_of_the_class(flip: bool) -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[80:90, 170:190] = 2
    mask[5, 7] = 2
    first, starts = Geometry((200, 100), 32, 50, 40, flip), set()
    for seed in range(300):
        found = RARE.choose_window(mask, first, ItemDraws(seed))
        assert replace(found, x=50, y=40) == first
        assert 0 <= found.x <= 168
        assert 0 <= found.y <= 68
        assert (mask[found.y : found.y + 32, found.x : found.x + 32] == 2).any()
        starts.add(found.x)
    assert len(starts) > 20
    assert min(starts) <= 7  # the single pixel is drawn too


def test_pixels_lie_in_a_resized_image_where_they_lay() -> None:
    mask = np.zeros((50, 100), np.uint8)
    mask[40, 90] = 1
    first = Geometry((400, 200), 8, 0, 0, False)
    found = [RARE.choose_window(mask, first, ItemDraws(seed)) for seed in range(200)]
    assert {window.x for window in found} == set(range(362 - 7, 362 + 1))
    assert {window.y for window in found} == set(range(162 - 7, 162 + 1))
    small = Geometry((30, 15), 40, 0, 0, False)  # the window shows all of it
    assert RARE.choose_window(mask, small, ItemDraws(0)) == small


def test_a_share_of_the_windows_is_moved() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[90, 190] = 2
    first, half = Geometry((200, 100), 32, 0, 0, False), replace(RARE, crops=0.5)
    moved = [half.choose_window(mask, first, ItemDraws(seed)) is not first for seed in range(1000)]
    assert np.mean(moved) == pytest.approx(0.5, abs=0.05)
    assert replace(RARE, crops=0.0).choose_window(mask, first, ItemDraws(0)) is first


def test_without_a_rare_class_the_window_stays() -> None:
    first = Geometry((200, 100), 32, 5, 6, False)
    assert RARE.choose_window(np.zeros((100, 200), np.uint8), first, ItemDraws(3)) is first


def item(fill: int, mask: list[list[int]], views: int = 1) -> Labeled:
    image = torch.full((3, 2, 2), fill, dtype=torch.uint8)
    return Labeled(image, torch.tensor(mask, dtype=torch.uint8), (image + 100,) * views)


def test_pixels_of_the_class_are_pasted_with_their_labels_and_nothing_else() -> None:
    a, b = item(10, [[0, 255], [2, 0]]), item(20, [[255, 0], [0, 0]])
    one, two = RARE.paste_regions([a, b], ItemDraws(0))
    assert one is a  # the other image has no rare class
    assert two.mask.tolist() == [[255, 0], [2, 0]]
    assert two.image[0].tolist() == [[20, 20], [10, 20]]
    assert two.strong[0][2].tolist() == [[120, 120], [110, 120]]
    assert b.mask.tolist() == [[255, 0], [0, 0]]


def test_images_are_pasted_as_they_were_read() -> None:
    """In a row of three each takes from the one before, not what that one was given."""
    items = [item(1, [[2, 0], [0, 0]]), item(2, [[0, 1], [0, 0]]), item(3, [[0, 0], [0, 0]])]
    found = RARE.paste_regions(items, ItemDraws(0))
    assert [each.mask.tolist() for each in found] == [[[2, 0], [0, 0]], [[2, 1], [0, 0]], [[0, 1], [0, 0]]]


def test_the_share_of_images_and_rows_of_looks() -> None:
    half = replace(RARE, paste=0.5)
    items = [item(1, [[2, 0], [0, 0]]), item(2, [[2, 0], [0, 0]])]
    changed = sum(
        new is not old
        for s in range(500)
        for new, old in zip(half.paste_regions(items, ItemDraws(s)), items, strict=True)
    )
    assert changed / 1000 == pytest.approx(0.5, abs=0.05)
    assert RARE.paste_regions(items[:1], ItemDraws(0))[0] is items[0]
    rows = [replace(each, strong=(torch.arange(5.0),)) for each in items]
    assert RARE.paste_regions(rows, ItemDraws(0))[0].strong[0].tolist() == [0, 1, 2, 3, 4]
    deep = [replace(each, image=each.image.to(torch.uint16)) for each in items]
    assert RARE.paste_regions(deep, ItemDraws(0))[0].image.dtype == torch.uint16


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Images of one class, each with a square of a second and a spot of a third."""
    from PIL import Image

    root = toy_data.make(tmp_path_factory.mktemp("data"))
    for number, path in enumerate(sorted((root / "masks").glob("*.png"))):
        ids = np.zeros((30, 40), np.uint8)
        ids[20:28, 3 * number : 3 * number + 8] = 1
        ids[2:4, 30:32] = 2
        Image.fromarray(ids).save(path)
    return toy_data.sources(root)


def digests(sources: Any, rare: RareClasses | None, **options: Any) -> list[str]:
    given = {"crop_size": 16, "batch_size": 2, "seed": 3, "micro_steps_total": 6, "rare": rare} | options
    stream = StepStream(sources, ViewRequest(labeled=1, unlabeled=1, mixing=True, ood=1), **given)
    return [batch_digest(stream[step]) for step in (4, 0, 1)]


def test_batches_are_a_pure_function_and_null_is_today_s(sources: Any) -> None:
    plain = digests(sources, None)
    assert digests(sources, RareClasses.of([900, 60, 40])) == plain  # neither crops nor pasting
    for rare in (replace(RARE, paste=0.0), replace(RARE, crops=0.0)):
        assert digests(sources, rare) == digests(sources, rare)
        assert digests(sources, rare) != plain


def test_both_pipelines_have_the_same_labels_and_rare_ones_more_often(sources: Any) -> None:
    def masks(rare: RareClasses | None, pipeline: str) -> torch.Tensor:
        stream = StepStream(
            sources, ViewRequest(), crop_size=16, batch_size=4, seed=3, micro_steps_total=12, rare=rare,
            pipeline=pipeline, scale=(0.9, 1.2),
        )  # fmt: skip
        return torch.cat([stream[step].labeled.mask for step in range(12)])

    for rare in (RARE, replace(RARE, paste=0.0), replace(RARE, crops=0.0)):
        found = masks(rare, "fast")
        assert found.equal(masks(rare, "reference"))
        assert (found == 2).any((1, 2)).float().mean() > (masks(None, "fast") == 2).any((1, 2)).float().mean()


def test_the_log_says_which_classes_are_rare():
    names = ("ground", "thing", "other")
    assert describe_rare_classes(None, names) is None
    line = describe_rare_classes(RareClasses.of([90, 8, 2], crops=0.5), names)
    assert line == "rare classes (data.rare_crops, data.copy_paste): other 2 %, thing 8 %"
    assert "no class has fewer" in str(describe_rare_classes(RareClasses.of([5, 5, 5], paste=1.0), names))
