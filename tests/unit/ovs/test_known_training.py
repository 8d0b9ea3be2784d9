"""A teacher that has learnt from the images that it labels is named, and no other one."""

from pathlib import Path

import pytest

from semiovs.comparison.results import find_leak
from semiovs.config import load_config
from semiovs.images.record import Record
from semiovs.models.weight_catalog import catalogue
from semiovs.ovs.known_training import _NAMES, describe_known_images
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary
from unit import toy_data

SED = {"name": "sed", "variant": "large", "precision": "fp32"}
COCO = "train2017/000000{:06d}.jpg"


def records(*paths: str) -> list[Record]:
    return [Record(path, Path(path)) for path in paths]


def test_images_of_the_training_set_are_counted():
    images = records(*(COCO.format(i) for i in range(1200)), "mine/holiday.jpg", "val2017/000000000139.jpg")
    told = describe_known_images(SED, images, "OOD images")
    assert told.startswith(
        "The teacher's released weights (sed-large) have learnt from the masks of COCO-Stuff (train2017)"
    )
    assert "1,200 of these 1,202 OOD images are named like images of it" in told
    older = records("COCO_train2014_000000000009.jpg")
    assert "1 of these 1 labelled images" in describe_known_images({**SED, "variant": "base"}, older, "labelled images")


@pytest.mark.parametrize(
    "teacher", [{"name": "sed"}, {"name": "clip-dense"}, {"name": "sed", "variant": "unknown"}, {}, {"name": 3}]
)
def test_what_is_not_known_is_not_said(teacher):
    assert describe_known_images(teacher, records(COCO.format(9)), "OOD images") == ""


@pytest.mark.parametrize("path", ["202401011200.jpg", "0001.jpg", "val2017/000000000139.jpg", "a000000000139.jpg"])
def test_other_images_are_not_taken_for_them(path):
    assert describe_known_images(SED, records(path), "OOD images") == ""


def test_every_training_set_of_the_catalogue_can_be_recognised():
    known = [row.trained_on for row in catalogue().values() if row.trained_on is not None]
    assert len(known) >= 2
    assert {text.partition(" ")[0] for text in known} <= set(_NAMES)


def test_a_comparison_asks_the_store_which_teacher_it_was(tmp_path):
    root = toy_data.make(tmp_path / "data", ood=0)
    for i in (9, 25):
        toy_data.image(root / f"ood/000000{i:06d}.png", i)
    vocabulary = Vocabulary.of(toy_data.NAMES)
    PseudoLabelStore.create(root / "by-sed", vocabulary, teacher=SED)
    PseudoLabelStore.create(root / "by-other", vocabulary, teacher={"name": "clip-dense"})

    def ask(*changes: str) -> str:
        return find_leak(load_config(None, [f"data.root={root}", *changes]).config)

    assert "2 of these 2 OOD images" in ask("ood.images=ood", "ood.labels=by-sed")
    assert ask("ood.images=ood", "ood.labels=by-other") == ""
    assert ask("ood.images=gone", "ood.labels=by-sed") == ask() == ""
