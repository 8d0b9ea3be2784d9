"""Weights of an ensemble's members, chosen on labelled images that are left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiovs.errors import DataError, UsageError
from semiovs.ovs import OpenVocabModel, build_ovs
from semiovs.ovs.ensemble import EnsembleMember
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.ovs.member_weights import list_weights
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["a", "b", "c"])
IMAGE = torch.zeros(3, 20, 30, dtype=torch.uint8)


def truth(name):
    return torch.from_numpy(np.random.default_rng(int(name)).integers(0, 3, (20, 30)).astype(np.uint8))


class Knows(OpenVocabModel):
    """Sure of some classes, undecided among the others; a share of the pixels at random. Counts its answers."""

    reads_ids = True

    def __init__(self, classes=(0, 1, 2), noise=0.0):
        self.classes, self.noise, self.asked = classes, noise, []

    def scores(self, images, vocabulary, *, ids=None):
        self.asked += ids
        return [self._score(truth(name), int(name)) for name in ids]

    def _score(self, mask, seed):
        rng = np.random.default_rng(1000 + seed)
        seen = torch.where(
            torch.from_numpy(rng.random(mask.shape) < self.noise),
            torch.from_numpy(rng.integers(0, 3, mask.shape)),
            mask,
        )
        score = torch.full((3, *mask.shape), 0.3)
        for k in self.classes:
            score[k] = torch.where(seen == k, 0.8, 0.1)
        return score


class Memory(OpenVocabModel):
    """Right about the images that it has learnt from, class `a` elsewhere."""

    reads_ids = learns = True
    known = frozenset()

    def learn(self, labeled, vocabulary):
        taught = Memory()
        taught.known = frozenset(one.id for one in labeled)
        return taught

    def scores(self, images, vocabulary, *, ids=None):
        labels = [truth(name) if name in self.known else torch.zeros(20, 30) for name in ids]
        return [(label[None] == torch.arange(3)[:, None, None]).float() for label in labels]


def labeled(count, unit=None):
    return [LabeledImage(str(i), unit or str(i), lambda i=i: (IMAGE, truth(i))) for i in range(count)]


def mix(*members):
    made = build_ovs("ensemble", members=[{"name": "small", "weight": "auto"}] * 2)
    made.members = tuple(EnsembleMember(f"m{i}", member, "auto") for i, member in enumerate(members))
    return made


def weights(taught):
    return [member["weight"] for member in taught.describe()["members"]]


def test_a_useless_member_gets_nothing_and_is_not_asked():
    good, useless = Knows(noise=0.2), Knows(noise=1.0)
    taught = mix(good, useless).learn(labeled(6), CLASSES)
    assert weights(taught) == [1, 0]
    useless.asked.clear()
    taught.label([IMAGE], CLASSES, ids=["7"])
    assert useless.asked == []
    alone = taught.describe()["chosen"]["alone"]
    assert alone[0] > 60 > 30 > alone[1]


def test_members_that_complete_each_other_are_mixed():
    taught = mix(Knows(classes=(0,)), Knows(classes=(1,))).learn(labeled(5), CLASSES)
    assert min(weights(taught)) > 0
    assert sum(weights(taught)) == pytest.approx(1)
    chosen = taught.describe()["chosen"]
    assert chosen["miou"] > max(chosen["alone"]) + 10


def test_equals_are_not_mixed():
    assert sorted(weights(mix(Knows(), Knows()).learn(labeled(4), CLASSES))) == [0, 1]


def test_a_member_that_remembers_masks_gains_nothing():
    taught = mix(Memory(), Knows(noise=0.3)).learn(labeled(6), CLASSES)
    assert weights(taught) == [0, 1]
    assert taught.describe()["chosen"]["alone"][0] < 20


def test_a_member_that_learns_nothing_is_asked_once_an_image():
    reader = Knows()
    mixed = mix(Memory(), reader)
    images = labeled(5)
    mixed.learn(images, CLASSES)
    mixed.learn(images[:3], CLASSES)
    assert sorted(reader.asked) == [str(i) for i in range(5)]


def test_the_grid():
    assert len(list_weights(2)) == 11
    assert len(list_weights(3)) == 21
    for members in (2, 3, 4, 5):
        grid = list_weights(members)
        np.testing.assert_allclose(np.sum(grid, axis=1), 1)
        assert len(set(grid)) == len(grid)


def test_what_cannot_be():
    with pytest.raises(UsageError, match="weight: auto chooses among two or more members, of all or of none"):
        build_ovs("ensemble", members=[{"name": "small", "weight": "auto"}, {"name": "small"}])
    with pytest.raises(UsageError, match="must be a number above 0, or auto"):
        build_ovs("ensemble", members=[{"name": "small", "weight": "automatic"}])
    with pytest.raises(UsageError, match="chosen on labelled images, and was given none"):
        mix(Knows(), Knows()).label([IMAGE], CLASSES, ids=["1"])
    with pytest.raises(DataError, match="cannot be left out in turn"):
        mix(Knows(), Knows()).learn(labeled(3, unit="film"), CLASSES)
