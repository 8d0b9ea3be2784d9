"""`semiovs compare` of OOD images that have no labels yet: where they come from, and what is planned until then."""

from __future__ import annotations

import json
import shutil

import pytest

from e2e import folders
from semiovs.cli.app import main
from semiovs.comparison.ood_labels import find_images_to_label, label_ood_images
from semiovs.config import load_config
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.errors import ConfigError
from semiovs.progress import show_progress
from semiovs.store import PseudoLabelStore


@pytest.fixture
def data(tmp_path):
    """OOD images without labels; those that the teacher `masks` is to give lie elsewhere."""
    root = folders.write(tmp_path / "data")
    (root / "ood-labels").rename(tmp_path / "answers")
    shutil.copytree(root / "val" / "masks", tmp_path / "answers", dirs_exist_ok=True)
    return root


def plan(data, *words: str) -> list[str]:
    out = data.parent / "out"
    given = folders.settings(data, out, train__steps=2)
    return ["compare", *given, "--out", str(out), "--seeds", "1", "--dry-run", "--json", *words]


def test_a_dry_run_plans_with_the_labels_that_the_teacher_will_give(data, tmp_path, capsys):
    words = ("--teacher", "masks", "--from", str(tmp_path / "answers"))
    assert main(plan(data, *words)) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    arms = list(told["arms"])
    assert list(told["seconds_each"]) == arms[:-1]  # the teacher trains nothing
    assert min(told["seconds_each"].values()) > 0
    assert told["seconds"] == pytest.approx(sum(told["seconds_each"].values()), abs=1)
    assert not (tmp_path / "out").exists()
    assert arms == ["labels", "unlabeled", "naive", "ood", "placebo", "teacher"]
    assert "teacher masks labels 5" in said.err
    assert "2 images to evaluate on are too few for any verdict, which needs 10: label more" in said.err
    assert not (data / "ood-labels").exists()


def test_answers_of_ood_images_alone_are_no_arm(data, tmp_path, capsys):
    words = ("--teacher", "masks", "--from", str(tmp_path / "answers"))
    (tmp_path / "answers" / "v1.png").unlink()
    assert main(plan(data, *words)) == 0
    assert list(json.loads(capsys.readouterr().out)["arms"]) == ["labels", "unlabeled", "naive", "ood", "placebo"]
    assert main(plan(data, *words, "--arms", "ood,teacher")) == 0
    assert list(json.loads(capsys.readouterr().out)["arms"]) == ["ood", "teacher"]


def test_without_a_teacher_the_error_says_that_one_is_missing(data, capsys):
    assert main(plan(data)) == 3
    assert "--teacher NAME" in capsys.readouterr().err


def find(data, **keys: object):
    loaded = load_config(None, folders.settings(data, data.parent / "run", **keys))
    return loaded.config, find_images_to_label(loaded.config, teacher=True, say=lambda _: None)


def test_a_folder_of_answers_labels_them(data):
    config, task = find(data)
    teacher = TeacherChoice("masks", root=data.parent / "answers")
    label_ood_images(task, config, teacher, agree=lambda _: None, show=show_progress, say=lambda _: None)
    assert len(PseudoLabelStore.open(data / "ood-labels")) == 5
    assert find(data)[1] is None


def test_labels_that_are_there_stay(data):
    shutil.copytree(data.parent / "answers", data / "ood-labels")
    assert find(data)[1] is None


def test_masks_that_the_list_names_are_labels(data):
    shutil.copytree(data.parent / "answers", data / "truth")
    (data / "ood.txt").write_text("".join(f"ood/o{index}.png truth/o{index}.png\n" for index in range(5)))
    assert find(data, ood__images="ood.txt")[1] is None


def test_raw_labels_are_not_written_where_calibrated_ones_are_asked_for(data):
    with pytest.raises(ConfigError, match="semiovs label --calibration"):
        find(data, ood__confidence="calibrated")


def test_nothing_is_labelled_for_a_comparison_that_cannot_be(data, tmp_path, capsys):
    words = [word for word in plan(data) if word != "--dry-run"]
    assert main([*words, "--arms", "labels,odd", "--teacher", "masks", "--from", str(tmp_path / "answers")]) == 2
    assert "odd" in capsys.readouterr().err
    assert not (data / "ood-labels").exists()
