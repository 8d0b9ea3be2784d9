"""What every teacher must do (`semiovs.testing`), of those that need no download."""

from __future__ import annotations

import pytest
import torch

from semiovs.ovs import OpenVocabModel
from semiovs.testing import check_teacher, teacher_checks
from semiovs.testing.teachers import CHECKS
from unit.tiny_clip import NAME, save_clip
from unit.tiny_huggingface import MODELS, require_model, save_clipseg, save_image_text

NAMES = [check.__name__ for check in CHECKS]


@pytest.mark.parametrize("check", teacher_checks("small", device="cpu"), ids=str)
def test_small(check):
    check()


@pytest.mark.parametrize("check", teacher_checks("small", device="cpu", flip=True, tile=32), ids=str)
def test_small_through_windows(check):
    check()


def test_an_ensemble():
    members = [
        {"name": "small", "options": {"device": "cpu"}},
        {"name": "small", "options": {"device": "cpu", "flip": True}},
    ]
    check_teacher("ensemble", members=members)


@pytest.mark.parametrize("check", teacher_checks("prototypes", encoder="small", centres=2, device="cpu"), ids=str)
def test_prototypes(check):
    check()


def test_prototypes_through_windows():
    check_teacher("prototypes", encoder="small", centres=0, device="cpu", tile=32, flip=True)


def test_an_ensemble_that_learns():
    prototypes = {"name": "prototypes", "options": {"encoder": "small", "device": "cpu"}, "weight": "auto"}
    check_teacher("ensemble", members=[prototypes, {"name": "small", "options": {"device": "cpu"}, "weight": "auto"}])


def test_clip_dense(tmp_path):
    check_teacher("clip-dense", weights=save_clip(tmp_path), model=NAME, size=32, device="cpu")


@pytest.mark.filterwarnings("ignore:teacher 'metaclip2'")
@pytest.mark.parametrize("options", [{}, {"tile": 32, "scales": [1.0, 1.5], "flip": True}], ids=["whole", "windows"])
@pytest.mark.parametrize("name", MODELS)
def test_image_text_models(tmp_path, monkeypatch, name, options):
    require_model(name)
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    teacher = "siglip2" if name == "naflex" else name
    check_teacher(teacher, weights=save_image_text(tmp_path / "model", name), size=32, device="cpu", **options)


def test_clipseg(tmp_path):
    pytest.importorskip("transformers")
    check_teacher("huggingface", weights=save_clipseg(tmp_path), device="cpu")


class Brightness(OpenVocabModel):
    """Class by brightness, with one fault."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.calls = fault, 0

    def describe(self):
        self.calls += 1
        return {"tensor": torch.zeros(1)} if self.fault == "description" else {}

    def scores(self, images, vocabulary, *, ids=None):
        self.calls += 1
        found = []
        for image in images:
            if self.fault == "in place":
                image[0] = 0
            bright = image.float().mean(dim=0) / 255
            found.append(torch.stack([bright * (1 + ord(name[0])) / 256 for name in vocabulary.names]))
        return [self._spoilt(score, len(images)) for score in found]

    def _spoilt(self, score, count):
        changes = {
            "shape": lambda: score[:, :-1],
            "range": lambda: score * 300,
            "random": lambda: score * (0.5 + 0.01 * self.calls),
            "order": lambda: score.sort(dim=0).values,
            "company": lambda: score / count,
        }
        return changes.get(self.fault, lambda: score)()

    def label(self, images, vocabulary, *, ids=None):
        labels, confidences = super().label(images, vocabulary, ids=ids)
        return ([(one + 1) % 3 for one in labels] if self.fault == "labels" else labels), confidences


def test_a_teacher_without_faults_passes():
    check_teacher(Brightness)
    check_teacher(Brightness())


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("shape", "scores_have_the_right_shape"),
        ("range", "scores_are_probabilities"),
        ("labels", "labels_agree_with_scores"),
        ("company", "images_are_answered_one_by_one"),
        ("random", "answers_are_repeated"),
        ("order", "classes_are_in_the_order_of_the_vocabulary"),
        ("in place", "images_are_not_changed"),
        ("description", "description_is_plain_data"),
    ],
)
def test_a_fault_is_found_by_its_check(fault, check):
    others = [name for name in NAMES if name != check]
    with pytest.raises(AssertionError, match=f"teacher 'Brightness': check {check}: "):
        check_teacher(Brightness, fault=fault, skip=others)
