from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from semiovs.demo.synthetic import OOD, render_scene
from semiovs.similarity.hashes import (
    HashIndex,
    alike_pairs,
    are_alike,
    correlation,
    crop_borders,
    distance,
    find_near_hashes,
    make_thumbnail,
    perceptual_hash,
)

SCENES = [np.asarray(render_scene(OOD, 128, np.random.default_rng([7, k])).image) for k in range(12)]


def jpeg(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize(
    "copy",
    [
        lambda p: jpeg(p, 40),
        lambda p: np.asarray(Image.fromarray(p).resize((64, 64))),
        lambda p: np.asarray(Image.fromarray(p).resize((180, 150), Image.Resampling.BICUBIC)),
        lambda p: (p * 0.6).astype(np.uint8),
        lambda p: np.asarray(Image.fromarray(p).convert("L")),
    ],
)
def test_a_copy_is_found_and_other_pictures_are_not(copy):
    for k, scene in enumerate(SCENES):
        made = copy(scene)
        near = [
            i
            for i, other in enumerate(SCENES)
            if bin(perceptual_hash(other) ^ perceptual_hash(made)).count("1") <= 10
            and are_alike(make_thumbnail(other), make_thumbnail(made))
        ]
        assert near == [k]


def framed(pixels, above, sides, color, quality=80):
    wide = np.full((pixels.shape[0] + 2 * above, pixels.shape[1] + 2 * sides, 3), color, np.uint8)
    wide[above : above + pixels.shape[0], sides : sides + pixels.shape[1]] = pixels
    return jpeg(wide, quality)


@pytest.mark.parametrize(("above", "sides", "color"), [(16, 16, 0), (4, 4, 255), (24, 0, 0), (0, 20, 130)])
def test_borders_and_bars_are_no_content(above, sides, color):
    for small in SCENES:
        scene = np.asarray(Image.fromarray(small).resize((384, 384), Image.Resampling.BICUBIC))
        inside = crop_borders(framed(scene, 3 * above, 3 * sides, color))
        assert all(abs(a - b) <= 16 for a, b in zip(inside.shape, scene.shape, strict=True))
        plain = crop_borders(scene)
        assert bin(perceptual_hash(plain) ^ perceptual_hash(inside)).count("1") <= 10
        assert are_alike(make_thumbnail(plain), make_thumbnail(inside))


def test_what_is_no_border_stays():
    scene = SCENES[0].copy()
    for changed in (scene, np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8), scene[:1], scene[:, :1]):
        assert crop_borders(changed).shape == changed.shape
    sky = scene.copy()
    sky[:20] = 255  # on one side alone
    assert crop_borders(sky).shape == scene.shape
    sky[-20:] = 0  # on two sides, not of one colour
    assert crop_borders(sky).shape == scene.shape
    half = scene.copy()
    half[:40] = half[-40:] = 0  # too wide
    assert crop_borders(half).shape == scene.shape


def test_even_pictures():
    black, white = np.zeros((20, 30, 3), np.uint8), np.full((50, 40, 3), 255, np.uint8)
    assert correlation(make_thumbnail(black), make_thumbnail(white)) == 1
    assert correlation(make_thumbnail(black), make_thumbnail(SCENES[0])) == 0
    assert isinstance(perceptual_hash(black), int)


def some_hashes(count, seed=0):
    """Random hashes, a third of them a few bits from another one, some equal."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64, endpoint=False)
    for k in range(0, count, 3):
        for bit in rng.choice(64, rng.integers(0, 14), replace=False):
            hashes[k] = hashes[(k * 7 + 1) % count] ^ (np.uint64(1) << np.uint64(bit))
    return hashes


@pytest.mark.parametrize("few", [0, 500])
@pytest.mark.parametrize("radius", [0, 3, 4, 7, 10, 13])
def test_pairs_are_those_that_a_comparison_of_all_finds(monkeypatch, radius, few):
    """With an index, and without one where there are few."""
    monkeypatch.setattr("semiovs.similarity.hashes._FEW", few)
    hashes = np.unique(some_hashes(300))
    wanted = [
        (i, j)
        for i, j in combinations(range(len(hashes)), 2)
        if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= radius
    ]
    assert find_near_hashes(hashes, radius).tolist() == [list(pair) for pair in wanted]
    assert radius < 10 or len(wanted) > 20


def test_equal_hashes_are_paired_with_their_first_place_alone():
    pairs = find_near_hashes(np.array([5, 9 << 50, 5, 5, 4, 9 << 50], np.uint64), 1)
    assert pairs.tolist() == [[0, 2], [0, 3], [0, 4], [1, 5]]
    assert len(find_near_hashes(np.full(20_000, 3, np.uint64))) == 19_999


def test_query_of_other_hashes(monkeypatch):
    monkeypatch.setattr("semiovs.similarity.hashes._TOGETHER", 10)  # many small parts give the same
    hashes, others = some_hashes(120), some_hashes(90, seed=1)
    others[:5] = hashes[:5] ^ np.uint64(0b101)
    wanted = [(i, j) for i in range(90) for j in range(120) if distance(others[i : i + 1], hashes[j : j + 1])[0] <= 10]
    assert [tuple(pair) for pair in HashIndex(hashes).query(others).tolist()] == wanted
    assert len(wanted) >= 5


def test_many_thumbnails_are_compared_as_one_pair_is(monkeypatch):
    monkeypatch.setattr("semiovs.similarity.hashes._COMPARED", 10)
    changed = [scene // 2 + 40 for scene in SCENES]
    even = [np.full((64, 64, 3), value, np.uint8) for value in (0, 200)]
    small = np.array([make_thumbnail(picture) for picture in [*SCENES, *changed, *even]])
    pairs = np.array(list(combinations(range(len(small)), 2)))
    wanted = [bool(are_alike(small[i], small[j])) for i, j in pairs]
    assert alike_pairs(small, pairs).tolist() == wanted
    assert {(k, k + 12) for k in range(12)} | {(24, 25)} <= {tuple(pair) for pair in pairs[wanted].tolist()}
    assert alike_pairs(small, np.zeros((0, 2), np.int64)).shape == (0,)


def test_nothing():
    assert find_near_hashes(np.array([], np.uint64)).shape == (0, 2)
    assert HashIndex(np.array([], np.uint64)).query(np.array([1], np.uint64)).shape == (0, 2)


def test_table_counts_as_numpy_2_does(monkeypatch):
    hashes = some_hashes(50)
    wanted = [bin(int(a) ^ int(b)).count("1") for a, b in zip(hashes, hashes[::-1], strict=True)]
    assert distance(hashes, hashes[::-1]).tolist() == wanted
    if hasattr(np, "bitwise_count"):
        monkeypatch.delattr(np, "bitwise_count")
    assert distance(hashes, hashes[::-1]).tolist() == wanted
