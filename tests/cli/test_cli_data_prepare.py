"""``semiovs data prepare`` and training on what it found, with made-up lists and miniature trees."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from semiovs.cli.app import main
from semiovs.config.schema import DataConfig
from semiovs.datasets import archives, split_cache, voc
from semiovs.datasets.split_cache import SplitCache
from semiovs.datasets.voc import Voc
from unit import benchmark_trees as trees
from unit.split_toys import catalogue_of


@pytest.fixture(autouse=True)
def _published(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    texts = trees.voc_lists()
    monkeypatch.setattr(split_cache, "load_catalogue", lambda: catalogue_of(texts))
    SplitCache().add({name: text.removesuffix("\n").split("\n") for name, text in texts.items()})


@pytest.fixture
def small(monkeypatch):
    """As many files as the miniature tree has are all there are."""
    parts = Voc.parts

    def these(self):
        counts = {"JPEGImages": 5, "SegmentationClass": 3}
        return [replace(part, expected=counts.get(part.place, part.expected)) for part in parts(self)]

    monkeypatch.setattr(Voc, "parts", these)


def _json(capsys, *arguments: str):
    code = main([*arguments, "--json"])
    caught = capsys.readouterr()
    return code, json.loads(caught.out), caught.err


@pytest.mark.parametrize("lists", [True, False])
def test_all_masks_in_the_folder_of_sbd(lists, tmp_path, monkeypatch):
    """Many have one folder of all 12,031 masks, and no SegmentationClass."""
    trees.voc(tmp_path)
    for path in (tmp_path / "SegmentationClass").iterdir():
        path.rename(tmp_path / "SegmentationClassAug" / path.name)
    if not lists:
        (tmp_path / "ImageSets/Segmentation/train.txt").unlink()
        (tmp_path / "ImageSets/Segmentation/val.txt").unlink()
    monkeypatch.setattr(voc, "_FINE", 3)
    monkeypatch.setattr(voc, "_WITH_SBD", 5)
    masks = Voc(DataConfig(name="voc", root=str(tmp_path))).parts()[1]
    assert (masks.found, masks.status) == (3, "ok")
    (tmp_path / "SegmentationClassAug/2007_000032.png").unlink()
    masks = Voc(DataConfig(name="voc", root=str(tmp_path))).parts()[1]
    assert (masks.found, masks.status) == ((2, "short") if lists else (0, "missing"))


def test_what_is_missing_is_named_with_its_archive(tmp_path, capsys):
    trees.voc(tmp_path / "voc")
    (tmp_path / "voc/SegmentationClass/2007_000033.png").unlink()
    code, facts, error = _json(capsys, "data", "prepare", "voc", "--root", str(tmp_path / "voc"))
    assert code == 3
    assert "incomplete: images, masks" in error
    parts = {part["place"]: part for part in facts["parts"]}
    assert (parts["JPEGImages"]["found"], parts["JPEGImages"]["expected"], parts["JPEGImages"]["status"]) == (
        5,
        17125,
        "short",
    )
    assert parts["SegmentationClass"]["found"] == 2
    assert "VOCtrainval_11-May-2012.tar" in parts["JPEGImages"]["origin"]
    assert not facts["complete"]
    before = sorted(tmp_path.rglob("*"))
    assert main(["data", "prepare", "voc", "--root", str(tmp_path / "voc")]) == 3
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written without --write
    text = capsys.readouterr().out
    assert "missing: images: VOCtrainval_11-May-2012.tar" in text
    assert f"belongs to {tmp_path / 'voc'}/JPEGImages" in text


@pytest.mark.usefixtures("small")
def test_complete_data_say_how_to_train(tmp_path, capsys):
    root = tmp_path / "voc"
    trees.voc(root)
    code, facts, _ = _json(capsys, "data", "prepare", "voc", "--root", str(root), "--write")
    assert (code, facts["complete"], facts["problems"]) == (0, True, [])
    assert facts["next"] == [f"semiovs train {root / 'semiovs.yaml'}"]
    assert (root / "splits/official/train.txt").read_text().count("\n") == 2
    tiny = [
        "model.encoder=tiny",
        "model.pretrained=false",
        "data.crop_size=32",
        "train.batch_size=2",
        "data.workers=0",
        "train.device=cpu",
    ]
    assert main(["train", str(root / "semiovs.yaml"), *tiny, "--dry-run"]) == 0
    assert main(["train", "pascal/92", f"data.root={root}", *tiny, "--dry-run"]) == 0
    capsys.readouterr()
    again = _json(capsys, "data", "prepare", "voc", "--root", str(root), "--write")[1]
    assert again["written"] == []  # files that are there stay


@pytest.mark.usefixtures("small")
def test_problems_of_complete_data(tmp_path, capsys):
    trees.voc(tmp_path)
    trees.mask(tmp_path / "SegmentationClass/2007_000032.png", [0, 77])
    (tmp_path / "JPEGImages/2008_000008.jpg").rename(tmp_path / "JPEGImages/2008_000009.jpg")
    code, facts, error = _json(capsys, "data", "prepare", "voc", "--root", str(tmp_path))
    assert code == 3
    assert "2 problems" in error
    assert (
        "pascal/92/labeled.txt names 1 images that are not there, like JPEGImages/2008_000008.jpg"
        in facts["problems"][0]
    )
    assert "mask values 77" in facts["problems"][1]


def test_masks_are_made_only_when_asked(tmp_path, capsys):
    trees.coco(tmp_path)
    code, facts, _ = _json(capsys, "data", "prepare", "coco", "--root", str(tmp_path))
    assert (code, [row["masks"] for row in facts["to make"]], facts["made"]) == (3, [3, 1], [])
    assert facts["next"][0] == f"semiovs data prepare coco --root {tmp_path} --write"
    assert not (tmp_path / "masks").exists()
    code, facts, _ = _json(capsys, "data", "prepare", "coco", "--root", str(tmp_path), "--write")
    assert (code, [row["masks"] for row in facts["made"]], facts["to make"]) == (3, [3, 1], [])
    assert len(list((tmp_path / "masks").iterdir())) == 4


def test_an_annotation_that_cannot_be_read_is_one_line(tmp_path, capsys):
    trees.context(tmp_path)
    (tmp_path / "trainval_merged.json").write_text("{")
    assert main(["data", "prepare", "context", "--root", str(tmp_path)]) == 3
    caught = capsys.readouterr()
    assert "problem: " in caught.out
    assert "not the annotation of Pascal Context" in caught.out
    assert "Traceback" not in caught.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["vox", "--root", "."], 2, "did you mean 'voc'"),
        (["folder", "--root", "."], 2, "semiovs init"),
        (["voc", "--root", "no/where"], 3, "no such folder"),
        (["voc"], 2, "--root"),
    ],
)
def test_mistakes(arguments, code, told, capsys):
    assert main(["data", "prepare", *arguments]) == code
    assert told in capsys.readouterr().err


def test_archives_that_lie_there_packed_are_compared_with_their_checksums(tmp_path, monkeypatch, capsys):
    content = b"not really a tar"
    own = archives.OfficialArchive("VOCtrainval_11-May-2012.tar", "md5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(archives, "ARCHIVES", {"voc": (own, archives.ARCHIVES["voc"][1])})
    (tmp_path / "voc/downloads").mkdir(parents=True)
    (tmp_path / "voc" / own.name).write_bytes(content)
    (tmp_path / "voc/downloads/benchmark.tgz").write_bytes(content)
    code, facts, _ = _json(capsys, "data", "prepare", "voc", "--root", str(tmp_path / "voc"))
    assert code == 3
    assert [(row["ok"], "md5" in row) for row in facts["packed"]] == [(True, True), (False, True)]
    assert [problem for problem in facts["problems"] if "benchmark.tgz is damaged" in problem]
    assert main(["data", "prepare", "voc", "--root", str(tmp_path / "voc")]) == 3
    assert f"{own.name} is here, packed, and whole: tar -xf {own.name} -C ." in capsys.readouterr().out


def test_checksums_look_like_checksums():
    for archive in (archive for several in archives.ARCHIVES.values() for archive in several):
        assert len(archive.digest) == {"md5": 32, "sha1": 40}[archive.algorithm]
        assert set(archive.digest) <= set("0123456789abcdef")
