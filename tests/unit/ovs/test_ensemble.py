"""The weighted mean of teachers, class by class."""

import numpy as np
import pytest
import torch

from semiovs.errors import ConfigError, DataError, UsageError
from semiovs.ovs import OpenVocabModel, build_ovs
from semiovs.ovs.ensemble import Ensemble, EnsembleMember
from semiovs.ovs.prompted import PromptedModel
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary(("back", "car", "cat"), (("sky", "wall"), ("car",), ("cat",)))


def image(height=10, width=14):
    return torch.zeros(3, height, width, dtype=torch.uint8)


class Prompted(PromptedModel):
    """Random answers at a low resolution."""

    def __init__(self, seed):
        self.seed = seed

    def maps(self, images, vocabulary):
        draws = torch.Generator().manual_seed(self.seed)
        return [torch.rand(len(vocabulary.prompts), 3, 4, generator=draws) for _ in images]

    def describe(self):
        return {"seed": self.seed}


class Scored(OpenVocabModel):
    def scores(self, images, vocabulary, *, ids=None):
        draws = torch.Generator().manual_seed(3)
        return [torch.rand(len(vocabulary), *image.shape[1:], generator=draws) for image in images]


def ensemble(*members):
    made = Ensemble.__new__(Ensemble)
    made.members, made.reads_ids = tuple(EnsembleMember(str(i), *member) for i, member in enumerate(members)), False
    return made


@pytest.mark.parametrize(
    "vocabulary", [CLASSES, Vocabulary(("rest", "car", "cat"), ((), ("car", "auto"), ("cat",)), background=0.4)]
)
def test_scores_are_the_weighted_mean_and_labels_their_argmax(vocabulary):
    one, two, three = Prompted(1), Prompted(2), Scored()
    images = [image(), image(7, 5)]
    together = ensemble((one, 1.0), (two, 3.0), (three, 4.0))
    found = together.scores(images, vocabulary)
    parts = [teacher.scores(images, vocabulary) for teacher in (one, two, three)]
    for got, a, b, c in zip(found, *parts, strict=True):
        torch.testing.assert_close(got, (a + 3 * b + 4 * c) / 8)
    labels, confidences = together.label(images, vocabulary)
    for got, label, confidence in zip(found, labels, confidences, strict=True):
        assert torch.equal(label.long(), got.argmax(dim=0))
        torch.testing.assert_close(confidence, got.amax(dim=0))
        assert label.dtype == torch.uint8


def test_one_teacher_alone_is_itself():
    alone = Prompted(5)
    labels, confidences = ensemble((alone, 0.3)).label([image()], CLASSES)
    own, sure = alone.label([image()], CLASSES)
    assert torch.equal(labels[0], own[0])
    torch.testing.assert_close(confidences[0], sure[0])


def test_labelling_never_holds_all_classes_at_full_size(monkeypatch):
    largest = []
    interpolate = torch.nn.functional.interpolate

    def seen(x, *args, **kwargs):
        out = interpolate(x, *args, **kwargs)
        largest.append(out.shape[1])
        return out

    monkeypatch.setattr("semiovs.ovs.pooling.F.interpolate", seen)
    many = Vocabulary.of([f"thing {i}" for i in range(60)])
    ensemble((Prompted(1), 1.0), (Prompted(2), 1.0)).label([image()], many)
    assert max(largest) == 1


def test_members_by_name_by_file_and_with_ids(tmp_path):
    for name, value in (("a", 0.9), ("b", 0.5)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.stack([np.full((10, 14), v, np.float32) for v in (0.1, value, 0.2)]))
    rows = [
        {"name": "masks", "options": {"root": str(tmp_path / "a")}},
        {"name": "masks", "weight": 3, "options": {"root": str(tmp_path / "b")}},
    ]
    teacher = build_ovs("ensemble", members=rows)
    assert teacher.reads_ids
    ((label,), (confidence,)) = teacher.label([image()], CLASSES, ids=["x"])
    assert (label == 1).all()
    torch.testing.assert_close(confidence, torch.full((10, 14), (0.9 + 3 * 0.5) / 4))
    file = tmp_path / "teachers.yaml"
    file.write_text(
        "".join(
            f"- {{name: masks, weight: {w}, options: {{root: '{tmp_path / n}'}}}}\n" for n, w in (("a", 1), ("b", 3))
        )
    )
    again = build_ovs("ensemble", members=str(file))
    assert again.describe() == teacher.describe()
    assert [m["weight"] for m in again.describe()["members"]] == [1, 3]


def test_where_no_member_answers_there_is_no_label(tmp_path):
    scores = np.zeros((3, 10, 14), np.float32)
    scores[1, :5] = 0.5
    np.save(tmp_path / "x.npy", scores)
    teacher = build_ovs("ensemble", members=[{"name": "masks", "options": {"root": str(tmp_path)}}])
    ((label,), _) = teacher.label([image()], CLASSES, ids=["x"])
    assert (label[:5] == 1).all()
    assert (label[5:] == 255).all()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "needs a list of"),
        ({"name": "masks"}, "needs a list of"),
        (["masks"], "row 1: expected {name: TEACHER, …}, got 'masks'"),
        ([{"name": "masks", "wieght": 2}], "row 1: no key 'wieght' .did you mean 'weight'"),
        ([{"name": "masks", "weight": 0}], "weight 0: must be a number above 0"),
        ([{"name": "masks", "weight": True}], "must be a number above 0"),
        ([{"name": "masks", "options": [1]}], "expected a mapping"),
        ([{"name": "mask"}], "did you mean 'masks'"),
        ([{"name": "masks", "options": {"rood": 1}}], "did you mean 'root'"),
    ],
)
def test_members_that_cannot_be(members, message):
    with pytest.raises(UsageError, match=message):
        build_ovs("ensemble", members=members)


def test_files_that_hold_no_members(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("- {name: [")
    for path, message in ((bad, "bad.yaml:1:11: not valid YAML"), (tmp_path / "none.yaml", "cannot be read: No such")):
        with pytest.raises(ConfigError, match=message):
            build_ovs("ensemble", members=str(path))
    bad.write_text("name: masks")
    with pytest.raises(UsageError, match="needs a list of"):
        build_ovs("ensemble", members=str(bad))


def test_wrong_images():
    with pytest.raises(DataError, match="must be uint8 RGB"):
        ensemble((Prompted(1), 1.0)).label([torch.zeros(3, 4, 4)], CLASSES)
