"""A teacher that learns is measured on images that it has not learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.calibration.card import make_card
from semiovs.calibration.fit import compute_miou, count_answers
from semiovs.calibration.learning import find_units, teach
from semiovs.data.collection import Collection
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from semiovs.ovs import OpenVocabModel
from semiovs.similarity.groups import assign_folds
from unit import toy_data


class Memory(OpenVocabModel):
    """Gives the mask of each image that it has learnt from, and class 0 everywhere else."""

    learns = True

    def __init__(self, known=None):
        self.known = known or {}

    def learn(self, labeled, vocabulary):
        return Memory({image.numpy().tobytes(): mask for image, mask in (one.load() for one in labeled)})

    def describe(self):
        return {"learnt": len(self.known)}

    def scores(self, images, vocabulary, *, ids=None):
        found = [self.known.get(image.numpy().tobytes(), torch.zeros(image.shape[1:])) for image in images]
        return [(label[None] == torch.arange(len(vocabulary))[:, None, None]).float() for label in found]


@pytest.fixture
def images(tmp_path: Path) -> Collection:
    return toy_data.sources(toy_data.make(tmp_path, labeled=7))


def measure(teacher, images):
    tally = count_answers(teacher, images.labeled, images.masks, images.vocabulary)
    return compute_miou(tally.table.confusion())


def test_what_it_remembers_is_worth_nothing(images):
    taught = teach(Memory(), images, images.vocabulary, folds=5)
    assert measure(taught.whole, images) == 100
    assert measure(taught.measured, images) < 15
    assert taught.whole.describe() == {"learnt": 7}
    assert sorted(len(part.known) for part in taught.measured.parts) == [5, 5, 6, 6, 6]
    assert "4 of 5 folds" in taught.learning.line
    assert taught.learning.as_json() == {"cross_fitted_folds": 5, "units": 7, "weights": None}


def test_copies_and_frames_of_a_film_are_left_out_together(images, tmp_path):
    for part in ("images", "masks"):
        Image.open(tmp_path / part / "l0.png").save(tmp_path / part / "zz.png")
    copied = toy_data.changed(images, labeled=Manifest.from_folder(tmp_path / "images", tmp_path / "masks"))
    units = find_units(copied, copies=True)
    assert units["zz"] == units["l0"] == "l0"
    assert len(set(units.values())) == 7
    assert set(find_units(copied, "^(.)", copies=False).values()) == {"l0", "zz"}
    assert measure(teach(Memory(), copied, copied.vocabulary).measured, copied) < 15
    with pytest.raises(DataError, match="label at least two that differ"):
        teach(Memory(), images, images.vocabulary, group="^(l)")


def test_a_teacher_that_learns_nothing_stays_as_it_is(images):
    class Fixed(Memory):
        learns = False

    teacher = Fixed()
    taught = teach(teacher, images, images.vocabulary)
    assert taught.measured is taught.whole is teacher
    assert taught.learning is None


def test_the_card_says_how_it_was_measured(images):
    taught = teach(Memory(), images, images.vocabulary)
    card = make_card(
        taught.measured,
        {"name": "memory"},
        images.labeled,
        images.masks,
        images.vocabulary,
        units=taught.units,
        learning=taught.learning,
        examples=0,
    )
    assert card.score.miou < 15
    assert card.verdict.useless
    assert "so that none has seen its mask" in card.advice
    assert card.as_json()["learning"]["cross_fitted_folds"] == 5


def test_images_of_one_unit_are_in_one_fold():
    folds = assign_folds(["a", "b", "a", "c", "d", "a", "e"], 3)
    assert folds[0] == folds[2] == folds[5]
    assert np.bincount(folds, minlength=3).min() >= 1
    assert np.bincount(assign_folds([f"i{i}" for i in range(8)], 3)).tolist() == [3, 3, 2]
    assert assign_folds(["a", "a"], 5).max() == 0
