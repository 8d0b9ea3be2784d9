"""A list means the same files to every verb that takes one: `train`, `data check`, `label` and `select`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.cli.data_input import find_data
from semiovs.cli.select import _load_images
from semiovs.config import load_config
from semiovs.engine.labelling import make_task
from semiovs.errors import DataError, SemiovsError
from semiovs.images.record import Record
from semiovs.registry import DATASETS, lookup
from semiovs.select.candidates import list_candidates
from unit import toy_data


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder by convention, with a second tree beside it that has images of the same names."""
    root = toy_data.make(tmp_path / "set")
    for name in ("o0", "o1"):
        path = tmp_path / f"elsewhere/ood/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return root


def files(manifest: Sequence[Record] | None) -> dict[str, Path]:
    return {record.id: record.image.resolve() for record in manifest or ()}


def train_ood(root: Path, given: Path) -> dict[str, Path]:
    config = load_config(None, [f"data.root={root}", f"ood.images={given}", "ood.mode=naive"]).config
    return files(lookup(DATASETS, "folder", kind="data set").load()(config.data, config.ood).read().ood)


def train_unlabeled(root: Path, given: Path) -> dict[str, Path]:
    config = load_config(None, [f"data.root={root}", f"data.unlabeled={given}"]).config
    return files(lookup(DATASETS, "folder", kind="data set").load()(config.data).read().unlabeled)


def label(root: Path, given: Path) -> dict[str, Path]:
    config = load_config(None, [f"data.root={root}"]).config
    return files(make_task(config, images=given, say=lambda line: None).images)


def check(root: Path, given: Path) -> dict[str, Path]:
    (stream,) = find_data([str(given), f"data.root={root}"]).collection.require().streams.values()
    return files(stream.manifest)


def select(root: Path, given: Path) -> dict[str, Path]:
    config, _ = _load_images([f"data.root={root}"])
    found = list(list_candidates([given], root=config.data.root, outside=config.data.outside))
    wrong = [image.why for image in found if not isinstance(image, Record)]
    if wrong:
        raise DataError.of(wrong)
    return files([image for image in found if isinstance(image, Record)])


VERBS = (train_ood, train_unlabeled, label, check, select)

LISTS = {
    "in the root": ("set/list.txt", "ood/o0.png\nood/o1.png\n", "set"),
    "in a folder of lists": ("set/splits/list.txt", "ood/o0.png\nood/o1.png\n", "set"),
    "deep below the root": ("set/splits/own/1_16/list.txt", "ood/o0.png\nood/o1.png\n", "set"),
    "its first image is missing": ("set/list.txt", "ood/none.png\nood/o1.png\n", "set"),
    "elsewhere, from the root": ("other/list.txt", "ood/o0.png\nood/o1.png\n", "set"),
    "elsewhere, from its folder": ("elsewhere/list.txt", "ood/o0.png ood/o0.png\n", "set"),  # the root comes first
    "elsewhere, from its folder alone": ("elsewhere/ood/list.txt", "o0.png\no1.png\n", "elsewhere/ood"),
    "elsewhere, from the folder above": ("elsewhere/lists/list.txt", "../elsewhere/ood/o0.png\n", None),
    "JSONL": ("set/a/list.jsonl", '{"image": "ood/o0.png"}\n{"id": "other", "image": "ood/o1.png"}\n', "set"),
}


@pytest.mark.parametrize("case", LISTS)
def test_every_verb_reads_the_same_files(root: Path, tmp_path: Path, case: str) -> None:
    place, text, start = LISTS[case]
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = [_files_or_error(verb, root, path) for verb in VERBS]
    assert all(one == found[0] for one in found), dict(zip((v.__name__ for v in VERBS), found, strict=True))
    if start is None:
        assert found[0] == "error"
        return
    inside = (tmp_path / start).resolve()
    assert isinstance(found[0], dict)
    assert found[0], "no image was listed"
    assert all(image.is_relative_to(inside) for image in found[0].values())


def test_absolute_paths_outside_are_refused_by_every_verb_unless_allowed(root: Path, tmp_path: Path) -> None:
    path = root / "list.txt"
    path.write_text(f"{tmp_path}/elsewhere/ood/o0.png\n")
    for verb in VERBS:
        with pytest.raises(SemiovsError, match=r"lies outside of .*data\.outside=true allows it"):
            verb(root, path)
    assert main(["label", f"data.root={root}", "--images", str(path), "--from", str(root / "ood-labels")]) == 3
    allowed = ["data.outside=true", "--images", str(path), "--from", str(root / "ood-labels"), "--out", "store"]
    (tmp_path / "labels").mkdir()
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(root / "ood-labels/o0.png")
    assert main(["label", f"data.root={root}", *allowed]) == 0


def test_label_without_a_configuration_keeps_lists_inside_too(root: Path, tmp_path: Path, capsys) -> None:
    path = root / "list.txt"
    path.write_text(f"{tmp_path}/elsewhere/ood/o0.png\n")
    arguments = ["label", "--images", str(path), "--classes", "sky,road,car", "--out", "store", "--from", "masks"]
    assert main(arguments) == 3
    assert "lies outside of" in capsys.readouterr().err
    assert not Path("store").exists()


def test_a_single_list_is_checked_with_the_bands_that_are_asked_for(tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "images").mkdir()
    for i in range(3):
        deep = np.full((40, 40), 300 + i, np.uint16)
        Image.fromarray(deep).save(tmp_path / f"images/{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"images/{i}.png\n" for i in range(3)))
    kinds = {}
    for bands, code in (("null", 0), ("[1]", 0), ("[1, 2]", 3)):
        assert main(["data", "check", str(tmp_path / "list.txt"), f"data.bands={bands}", "--json"]) == code
        kinds[bands] = {row["kind"] for row in json.loads(capsys.readouterr().out)["list"]}
    assert "image-mode" in kinds["null"]  # 16 bits are cut to 8
    assert "image-mode" not in kinds["[1]"]
    assert "image-unreadable" in kinds["[1, 2]"]  # one channel, not two


def _files_or_error(verb, root: Path, path: Path) -> dict[str, Path] | str:
    try:
        return verb(root, path)
    except SemiovsError:
        return "error"
