"""Near pictures: what is found, what is not, and that every copy is near something that stays."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from semiovs.demo.synthetic import OOD, render_scene
from semiovs.models.embedding import WIDTH as ENCODED
from semiovs.models.embedding import Embedding
from semiovs.similarity import neighbors
from semiovs.similarity.copies import (
    EMBEDDING,
    EXACT,
    PERCEPTUAL,
    ImageFingerprints,
    find_copies_of,
    find_copies_within,
)
from semiovs.similarity.descriptor import LIGHT, MIRROR, WIDTH, cosines, describe, quantize, subtract_mean
from semiovs.similarity.hashes import perceptual_hash


def picture(seed, side=96):
    return render_scene(OOD, side, np.random.default_rng([5, seed])).image


def looks(pictures):
    vectors = np.stack([describe(p) for p in pictures])
    digests = np.stack([np.frombuffer(hashlib.sha256(p.tobytes()).digest(), np.uint8) for p in pictures])
    return ImageFingerprints(digests, np.array([perceptual_hash(p) for p in pictures], np.uint64), vectors, vectors)


def test_a_description_does_not_mind_light_and_size():
    image = Image.fromarray(picture(0))
    whole = describe(np.asarray(image))
    assert whole.shape == (WIDTH,)
    for other in (
        image.resize((50, 60)),
        ImageEnhance.Brightness(image).enhance(0.7),
        ImageEnhance.Contrast(image).enhance(0.8),
    ):
        assert cosines(whole[None], describe(np.asarray(other))[None])[0] > 0.97
    mirrored = describe(np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert cosines((whole * MIRROR)[None], mirrored[None])[0] > 0.99
    assert cosines(whole[None], mirrored[None])[0] < 0.9
    assert cosines(whole[None], describe(picture(1))[None])[0] < 0.9


def test_even_pictures_have_no_direction():
    vector = describe(np.full((40, 50, 3), 128, np.uint8))
    assert not vector[:LIGHT].any()
    assert cosines(vector[None], vector[None])[0] in (0.0, 1.0)  # never NaN


def test_nearest_is_exact():
    rng = np.random.default_rng(0)
    one, other = (quantize(rng.standard_normal((n, 16))) for n in (70, 30))
    place, cosine = neighbors.find_nearest(one, other)
    every = np.stack([cosines(np.repeat(row[None], 30, 0), other) for row in one])
    np.testing.assert_array_equal(place, every.argmax(axis=1))
    np.testing.assert_allclose(cosine, every.max(axis=1))


@pytest.mark.parametrize("exact", [10**6, 16])
def test_near_pairs_are_all_found_exactly_and_almost_all_through_cells(monkeypatch, exact):
    monkeypatch.setattr(neighbors, "_EXACT", exact)
    rng = np.random.default_rng(1)
    crowds = rng.standard_normal((40, 32))
    vectors = quantize(crowds[rng.integers(0, 40, 1500)] + 0.28 * rng.standard_normal((1500, 32)))
    found = {tuple(pair) for part in neighbors.near_vectors(vectors, 0.95) for pair in part.tolist()}
    unit = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    truth = {(i, j) for i, j in np.argwhere(np.triu(unit @ unit.T >= 0.95, 1)).tolist()}
    assert len(truth) > 1000
    assert found <= truth
    assert len(found) == len(truth) if exact > 1500 else len(found) > 0.97 * len(truth)


def test_every_copy_is_near_an_earlier_one_that_stays():
    rng = np.random.default_rng(2)
    steps = np.cumsum(rng.standard_normal((400, 32)) * 0.2, axis=0)  # a film: each frame is near the next ones
    vectors = quantize(steps[rng.permutation(400)])
    hashes = rng.integers(0, 2**64, 400, dtype=np.uint64)
    digests = rng.integers(0, 256, (400, 32), dtype=np.uint8)
    found = find_copies_within(
        ImageFingerprints(digests, hashes, np.zeros((400, 64), np.int8), vectors), radius=0, threshold=0.95
    )
    copies = np.flatnonzero(found.of >= 0)
    assert 50 < len(copies) < 399
    assert (found.of[copies] < copies).all()
    assert (found.of[found.of[copies]] == -1).all()
    assert (cosines(vectors[copies], vectors[found.of[copies]]) >= 0.95).all()
    left = np.flatnonzero(found.of < 0)
    unit = vectors[left] / np.linalg.norm(vectors[left].astype(float), axis=1, keepdims=True)
    assert np.triu(unit @ unit.T, 1).max() < 0.95


def test_a_crowd_of_copies_takes_several_searches():
    rng = np.random.default_rng(3)
    vectors = np.tile(quantize(rng.standard_normal((1, 32))), (300, 1))
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64)
    digests = rng.integers(0, 256, (300, 32), dtype=np.uint8)
    found = find_copies_within(
        ImageFingerprints(digests, hashes, np.zeros((300, 64), np.int8), vectors), radius=0, threshold=0.95
    )
    assert (found.of[1:] == 0).all()
    assert found.of[0] == -1


def test_kinds_of_copies():
    base = [picture(i) for i in range(6)]
    changed = np.asarray(ImageEnhance.Brightness(Image.fromarray(base[0])).enhance(0.8))
    mirrored = np.ascontiguousarray(base[1][:, ::-1])
    found = find_copies_of(looks([base[3], changed, mirrored, picture(50)]), looks(base), radius=10, threshold=0.95)
    assert found.of.tolist() == [3, 0, 1, -1]
    assert found.kind.tolist() == [EXACT, PERCEPTUAL, EMBEDDING, 0]
    within = find_copies_within(looks([*base, changed]), radius=10, threshold=0.95)
    assert within.of.tolist() == [-1] * 6 + [0]


def test_nothing_is_a_copy_of_nothing():
    none = looks([picture(0)])[np.zeros(0, int)]
    assert find_copies_of(looks([picture(0)]), none, radius=10, threshold=0.9).of.tolist() == [-1]
    assert len(find_copies_of(none, looks([picture(0)]), radius=10, threshold=0.9).of) == 0
    assert len(find_copies_within(none, radius=10, threshold=0.9).of) == 0


def test_an_encoder_sees_cut_pictures_as_near_once_what_all_share_is_gone():
    embedding = Embedding("small")
    base = [picture(i) for i in range(12)]
    cut = [np.ascontiguousarray(p[4:-4, 4:-4]) for p in base]
    own, other = embedding(base), embedding(cut)
    assert own.shape == (12, ENCODED)
    assert own.dtype == np.int8
    whole, cut_ones = subtract_mean(own, own), subtract_mean(other, own)
    same, different = cosines(whole, cut_ones), cosines(whole, np.roll(whole, 1, axis=0))
    assert np.median(same) > 0.5 > 0.3 > np.median(different)
    np.testing.assert_array_equal(embedding(base[:1])[0], own[0])
