"""``semiovs data split``, and training lists that it wrote."""

import json
import shlex
import shutil

import pytest

from semiovs.cli.app import main
from semiovs.images.manifest import Manifest
from unit import toy_data


@pytest.fixture
def root(tmp_path, monkeypatch):
    toy_data.make(tmp_path, labeled=12, unlabeled=3, val=0)
    shutil.copy(tmp_path / "images/l0.png", tmp_path / "images/l9.png")  # two copies of one image
    (tmp_path / "own.yaml").write_text("data: {root: ., crop_size: 32}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(path, root):
    return {record.image.name for record in Manifest.read(path, root)}


def test_lists(root, capsys):
    command = ["data", "split", "own.yaml", "--sizes", "1/4,4", "--val", "0.25", "--held-out", "2"]
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["copies"] == 1
    place = root / "splits/own"
    assert {p.relative_to(place).as_posix() for p in place.rglob("*.*")} == {
        "split.json", "train.txt", "val.txt", "held_out.txt",
        *(f"{name}/{part}.txt" for name in ("1_4", "4") for part in ("labeled", "unlabeled")),
    }  # fmt: skip
    parts = {name: listed(place / f"{name}.txt", root) for name in ("train", "val", "held_out")}
    assert [len(part) for part in parts.values()] == [7, 3, 2]
    assert len(set().union(*parts.values())) == 12
    assert any({"l0.png", "l9.png"} <= part for part in parts.values())
    labeled, bare = (listed(place / f"4/{part}.txt", root) for part in ("labeled", "unlabeled"))
    assert listed(place / "1_4/labeled.txt", root) < labeled
    assert bare == parts["train"] - labeled | {"u0.png", "u1.png", "u2.png"}
    assert main(command) == 2  # nothing is replaced unasked
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    said = capsys.readouterr().out
    assert "next: semiovs train own.yaml data.labeled=" in said
    values = said.split("next: semiovs train ")[1].split()
    assert main([*command, "data.look=tone", "data.labeled=images", "--force"]) == 0
    said = capsys.readouterr().out
    assert "next: semiovs train own.yaml data.look=tone data.labeled=/" in said
    assert main(["train", *values, "--dry-run", "model.encoder=resnet18", "train.batch_size=2"]) == 0


def test_groups(root):
    assert main(["data", "split", "own.yaml", "--val", "4", "--sizes", "2", "--group", r"l(\d)"]) == 0
    val = listed(root / "splits/own/val.txt", root)
    assert ("l1.png" in val) == ("l10.png" in val) == ("l11.png" in val)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--sizes", "1/0"], 2, "expected a number of images, or a share"),
        (["--sizes", "x"], 2, "expected a number of images, or a share"),
        (["--sizes", "3/2"], 2, "a share is between 0 and 1"),
        (["--sizes", "0"], 2, "at least one image"),
        (["--sizes", "99"], 3, "99 of 10 images"),
        (["--val", "12"], 3, "no images are left"),
        (["--group", "("], 2, "not a regular expression"),
        (["--group", "l"], 2, "brackets"),
        (["--group", "(x)"], 3, "does not fit the image 'l0'"),
    ],
)
def test_mistakes(root, capsys, options, code, words):
    assert main(["data", "split", "own.yaml", *options]) == code
    assert words in capsys.readouterr().err
    assert not (root / "splits").exists()


def test_masks_that_do_not_hold_are_all_named(root, capsys):
    toy_data.mask(root / "masks/l1.png", 0, values=(0, 9))
    (root / "images/l2.png").write_bytes(b"")
    assert main(["data", "split", "own.yaml"]) == 3
    said = capsys.readouterr().err
    assert "l1.png: mask values 9" in said
    assert "l2.png: cannot be read" in said


def test_a_split_that_replaces_another_leaves_none_of_its_lists(root):
    (root / "splits/own").mkdir(parents=True)
    (root / "splits/own/notes.txt").write_text("mine")
    (root / "precious.txt").write_text("mine")
    assert main(["data", "split", "own.yaml", "--sizes", "2,4", "--val", "3"]) == 0
    facts = json.loads((root / "splits/own/split.json").read_text())
    facts["lists"]["train"] = "../../precious.txt"
    (root / "splits/own/split.json").write_text(json.dumps(facts))
    assert main(["data", "split", "own.yaml", "--sizes", "4", "--val", "0", "--force"]) == 0
    found = {path.relative_to(root / "splits/own").as_posix() for path in (root / "splits/own").rglob("*.*")}
    assert found == {"split.json", "notes.txt", "train.txt", "4/labeled.txt", "4/unlabeled.txt"}
    assert (root / "precious.txt").exists()


def test_the_next_command_can_be_pasted(root, capsys):
    shutil.rmtree(root / "unlabeled")
    assert main(["data", "split", "own.yaml", "--sizes", "12", "--val", "0", "--out", "my splits", "method=supervised"]) == 0
    said = capsys.readouterr()
    words = shlex.split(said.out.split("next: semiovs train ")[1])
    assert words[1:] == [
        "method=supervised",
        f"data.labeled={root / 'my splits/12/labeled.txt'}",
    ]  # and no list of no images
    assert "leaves unlabelled images aside" not in said.err
    assert main(["data", "split", "own.yaml", "--sizes", "2", "--out", "other", "method=supervised"]) == 0
    assert "leaves unlabelled images aside" in capsys.readouterr().err
