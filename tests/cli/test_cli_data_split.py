"""``semiovs data split``, and training lists that it wrote."""

import json
import shlex
import shutil

import pytest

from semiovs.cli.app import main
from semiovs.config import load_config
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
    assert "1 pair of images looks the same: each pair lies within one of train, val, held_out" in said
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
    assert (
        main(["data", "split", "own.yaml", "--sizes", "12", "--val", "0", "--out", "my splits", "method=supervised"])
        == 0
    )
    said = capsys.readouterr()
    words = shlex.split(said.out.split("next: semiovs train ")[1])
    assert words[1:] == [
        "method=supervised",
        f"data.labeled={root / 'my splits/12/labeled.txt'}",
    ]  # and no list of no images
    assert "leaves unlabelled images aside" not in said.err
    assert main(["data", "split", "own.yaml", "--sizes", "2", "--out", "other", "method=supervised"]) == 0
    assert "leaves unlabelled images aside" in capsys.readouterr().err


def test_without_options_a_fifth_is_kept_to_measure_on(root, capsys):
    """… where there is nothing yet; all others are trained with, and no label is taken away."""
    assert main(["data", "split", "own.yaml", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {name: part["images"] for name, part in facts["parts"].items()} == {"train": 10, "val": 2}
    assert facts["next"][0].startswith("semiovs train own.yaml data.labeled=")
    toy_data.make(root, val=2)
    assert main(["data", "split", "own.yaml", "--force", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["parts"]) == ["train"]


def test_images_to_measure_on_are_not_among_the_unlabelled_ones(root, capsys):
    """A list of all images as the unlabelled ones, which is usual."""
    every = [f"images/l{i}.png" for i in range(12)] + ["unlabeled/u0.png"]
    (root / "all.txt").write_text("\n".join(every) + "\n")
    assert main(["data", "split", "own.yaml", "data.unlabeled=all.txt", "--val", "3", "--write"]) == 0
    config = load_config("own.yaml").config.data
    assert (config.labeled, config.val) == ("splits/own/train.txt", "splits/own/val.txt")
    val, bare = listed(root / config.val, root), listed(root / config.unlabeled, root)
    assert len(val) == 3
    assert bare == {name.rpartition("/")[2] for name in every} - val


def test_written_into_the_yaml(root, capsys):
    """The rest of the file stays, a copy of it too; other settings are for the next command."""
    (root / "own.yaml").write_text("# mine\ndata:\n  root: .   # here\n  val: old.txt\n")
    command = ["data", "split", "own.yaml", "--sizes", "1/2", "--val", "2", "data.look=tone", "--write"]
    assert main([*command, "--out", str(root.parent / "lists of mine")]) == 0
    said = capsys.readouterr()
    assert said.out.endswith("next: semiovs train own.yaml data.look=tone\n")
    assert "+  val: " in said.err
    text = (root / "own.yaml").read_text()
    assert text.startswith("# mine\ndata:\n  root: .   # here\n  val: ")
    config = load_config("own.yaml").config.data
    assert config.labeled == str(root.parent / "lists of mine/1_2/labeled.txt")
    assert "old.txt" in (root / "own.yaml.bak").read_text()


@pytest.mark.parametrize("source", [[], ["quick"], ["run"]])
def test_only_a_file_of_the_user_is_written_into(root, capsys, source):
    (root / "run").mkdir()
    for name in ("run/config.yaml", "semiovs.yaml"):  # the latter is not named
        (root / name).write_text("data: {root: .}\n")
    assert main(["data", "split", *source, "data.root=.", "--write"]) == 2
    assert "--write changes a YAML file" in capsys.readouterr().err


def test_copies_are_not_torn_apart_for_an_evaluation_part(root, capsys):
    for i in range(1, 12):
        shutil.copy(root / "images/l0.png", root / f"images/l{i}.png")
    assert main(["data", "split", "own.yaml"]) == 0
    said = capsys.readouterr()
    assert "there is no part val: the images are copies" in said.err
    assert "data.val" not in said.out
