"""What a study says is missing, and where it belongs."""

from __future__ import annotations

import pytest

from e2e import study_trees
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.errors import DataError, WeightsError
from semiovs.store import PseudoLabelStore
from semiovs.study import needs as module
from semiovs.study.needs import Need, find_needs, require_nothing
from semiovs.study.plan import StudyPlan, StudyRequest
from semiovs.vocab import Vocabulary
from unit.benchmark_trees import mask

SED = TeacherChoice("sed")


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("SEMIOVS_CACHE", "SEMIOVS_WEIGHTS_DIR", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("semiovs.models.weight_catalog.find_in_cache", lambda row: None)


@pytest.fixture
def tree(tmp_path):
    return study_trees.write(tmp_path / "tree")


def find(root, teacher=SED, **asked):
    return find_needs(StudyPlan.of(StudyRequest(**asked), root / "out"), teacher)


def test_with_nothing_at_hand_every_file_has_its_place(tmp_path):
    found = {need.place: need for need in find(tmp_path, splits=["92", "183"])}
    cache, weights = tmp_path / "SEMIOVS_CACHE", tmp_path / "SEMIOVS_WEIGHTS_DIR"
    lists = found.pop(str(cache / "splits/pascal.json.xz"))
    assert lists.what.startswith("5 published lists (pascal/92/labeled.txt, ")
    assert lists.command == "semiovs splits fetch pascal"
    assert found.pop(str(tmp_path / "data/pascal/JPEGImages")).source.startswith("VOCtrainval_11-May-2012.tar")
    assert "2,913" in found.pop(str(tmp_path / "data/pascal/SegmentationClass")).what
    assert found.pop(str(tmp_path / "data/coco/images/train2017")).source.startswith("train2017.zip")
    assert found.pop(str(weights / "sed_model_large.pth")).command is None
    assert found.pop(str(weights / "resnet101.pth")).command == "semiovs weights pull resnet101-papers"
    clip = found.pop(str(weights / "vit_base_patch16_clip_224.openai.safetensors"))
    assert (clip.command, clip.automatic) == ("semiovs weights pull clip-vit-b16-openai", True)
    assert found == {}


def test_without_ood_images_neither_coco_nor_the_teacher_is_needed(tmp_path):
    found = find(tmp_path, arms=["base"], learners=["unimatch"])
    assert [need.kind for need in found] == ["data", "data", "data", "weights"]


def test_a_tree_with_all_of_it_lacks_nothing(tree):
    given = {"splits": list(study_trees.SPLITS), "learners": ["unimatch"], "settings": study_trees.settings(tree)}
    assert find(tree, TeacherChoice("sed", tree / "sed.safetensors"), **given) == []
    (sed,) = find(tree, TeacherChoice("sed", tree / "other.pth"), **given)
    assert sed.place == str(tree / "other.pth")
    (tree / "pascal/SegmentationClass/2007_000000.png").unlink()
    assert any(need.what.startswith("Pascal VOC 2012, masks") for need in find(tree, **given))


def test_a_folder_of_masks_needs_no_teacher_once_it_is_whole(tree):
    labels = tree / "out/sed-labels"
    given = {"splits": ["92"], "learners": ["unimatch"], "settings": study_trees.settings(tree)}
    names = [path.stem for path in (tree / "coco/images/train2017").iterdir()]
    for name in names[1:]:
        mask(labels / f"{name}.png", [0, 3], size=study_trees.SIZE)
    assert [need.kind for need in find(tree, **given)] == ["weights"]
    mask(labels / f"{names[0]}.png", [0, 3], size=study_trees.SIZE)
    assert find(tree, **given) == []


def test_a_store_of_other_classes_is_refused_at_once(tree):
    PseudoLabelStore.create(tree / "out/sed-labels", Vocabulary.load("context60"), teacher={"name": "sed"})
    with pytest.raises(DataError, match="sed-labels: its labels are of other classes"):
        find(tree, learners=["unimatch"], settings=study_trees.settings(tree))


def test_weights_that_lie_there_are_found(tmp_path):
    (tmp_path / "SEMIOVS_WEIGHTS_DIR").mkdir()
    for name in ("resnet101.pth", "sed_model_large.pth"):
        (tmp_path / "SEMIOVS_WEIGHTS_DIR" / name).touch()
    assert {need.kind for need in find(tmp_path, learners=["unimatch"])} == {"data"}


def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    (extra,) = (need for need in find(tmp_path, learners=["semivl"]) if need.kind == "extra")
    assert extra.command == "pip install 'semiovs[clip]'"


@pytest.mark.parametrize("online", [True, False])
def test_what_the_hub_has_holds_nobody_up_where_it_can_be_reached(monkeypatch, online):
    monkeypatch.setattr(module, "is_online", lambda: online)
    clip = Need("weights", "CLIP", "weights/clip", "the hub", "semiovs weights pull clip", automatic=True)
    if online:
        require_nothing([clip])
    else:
        with pytest.raises(WeightsError, match="CLIP: belongs to weights/clip; from the hub"):
            require_nothing([clip])
    with pytest.raises(DataError, match="VOC: belongs to data"):
        require_nothing([clip, Need("data", "VOC", "data", "its page")])
