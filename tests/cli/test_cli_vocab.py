"""``semiovs vocab``: show, check, diff; and YAML vocabularies in the verbs that take classes."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from semiovs.cli import console
from semiovs.cli.app import main
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary

MINE = """
classes:
  background:
  road: "road, street"
  car: [car, lorry]
background: {threshold: 0.4}
templates: photo
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my.yaml").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show(folder, capsys):
    assert main(["vocab", "show", "my.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "class", "colour", "concepts"]
    assert lines[1].split() == ["0", "background", "#000000", "(constant", "score", "0.4)"]
    assert lines[3] == "2   car         #56b4e9  car | lorry"
    assert lines[4] == f"3 classes, 3 concepts, hash {Vocabulary.load('my.yaml').hash}"
    assert lines[5] == "templates: a photo of a {}"


def test_show_of_long_lists(capsys):
    assert main(["vocab", "show", "voc21"]) == 0
    short = capsys.readouterr().out
    assert "traffic light | fire hydrant | stop sign | parking meter | bench | … 145 more (--all)" in short
    assert main(["vocab", "show", "voc21", "--all"]) == 0
    assert "window-blind | window-other | wood" in capsys.readouterr().out


def test_show_as_data(folder, capsys):
    assert main(["vocab", "show", "my.yaml", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["hash"], data["background"], data["prompts"]) == (Vocabulary.load("my.yaml").hash, 0.4, 3)
    assert data["concepts"] == [[], ["road, street"], ["car", "lorry"]]
    assert Vocabulary.from_json(data).hash == data["hash"]
    assert main(["vocab", "show", "my.yaml", "--yaml"]) == 0
    (folder / "copy.yaml").write_text(capsys.readouterr().out)
    assert Vocabulary.load("copy.yaml") == Vocabulary.load("my.yaml")
    assert main(["vocab", "show", "my.yaml", "--yaml", "--json"]) == 2


def test_colours_only_where_they_can_be_seen(monkeypatch):
    assert console.format_swatch((128, 64, 128)) == "#804080"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console.format_swatch((128, 64, 128)) == "\x1b[48;2;128;64;128m   \x1b[0m #804080"
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("COLUMNS", "80")
    row = [console.format_swatch((128, 64, 128)), "[red]x"]  # a name is no markup
    coloured = console.format_table(["a", "b"], [row])
    assert "48;2;128;64;128m" in coloured
    assert "[red]x" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "48;2" not in console.format_table(["a", "b"], [[console.format_swatch((128, 64, 128)), "x"]])


def test_check(folder, capsys):
    (folder / "bad.yaml").write_text("classes:\n- a\n- a\n")
    (folder / "odd.yaml").write_text("classes: [sky, cat/dog]\n")
    assert main(["vocab", "check", "my.yaml", "voc21"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["vocab", "check", "odd.yaml"]) == 0
    assert capsys.readouterr().err.startswith(
        "warning: odd.yaml: class 'cat/dog': concept 'cat/dog' is asked for as it stands"
    )
    assert main(["vocab", "check", "odd.yaml", "--strict"]) == 2
    capsys.readouterr()
    assert main(["vocab", "check", "my.yaml", "bad.yaml", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: vocabulary: bad.yaml:3: class 'a' is listed twice\n"
    good, bad = json.loads(captured.out)
    assert (good["ok"], good["classes"], bad["ok"]) == (True, 3, False)


def test_check_against_masks(folder, capsys):
    masks = folder / "masks"
    masks.mkdir()
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(masks / "a.png")
    assert main(["vocab", "check", "my.yaml", "--masks", "masks", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)[0]["pixels"] == {"background": 1, "road": 1, "car": 0}
    assert "classes that are in none of the 1 masks: car" in captured.err
    swapped = Image.fromarray(np.array([[2, 2]], np.uint8), "P")
    swapped.putpalette([0, 0, 0, 0, 128, 0, 128, 0, 0])
    swapped.save(masks / "b.png")
    assert main(["vocab", "check", "my.yaml", "--masks", "masks"]) == 0
    assert "value 2 has the colour of 'road' but is the id of 'car'" in capsys.readouterr().err
    swapped.putpalette([value for index in (0, 2, 1) for value in Vocabulary.load("my.yaml").shown_colors[index]])
    swapped.save(masks / "b.png")
    assert main(["vocab", "check", "my.yaml", "--masks", "masks"]) == 0
    assert "value 2 has the colour of 'road' but is the id of 'car'" in capsys.readouterr().err
    Image.fromarray(np.array([[7]], np.uint8)).save(masks / "c.png")
    assert main(["vocab", "check", "my.yaml", "--masks", "masks"]) == 3
    captured = capsys.readouterr()
    assert "c.png: mask values 7 (1 pixels) are not among 0..2" in captured.err
    assert "1 mask(s) do not fit" in captured.out
    assert main(["vocab", "check", "my.yaml", "--masks", "none"]) == 3


def test_diff(folder, capsys):
    (folder / "other.yaml").write_text("extends: my.yaml\nrename: {car: auto}\nignore: road\n")
    assert main(["vocab", "diff", "voc21", "voc21"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no difference",
        "labels: interchangeable (same names in the same order)",
        "stores: the same hash, labelling goes on",
    ]
    assert main(["vocab", "diff", "my.yaml", "other.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["removed", "road", "1"]
    assert lines[2].split() == ["renamed", "car", "2", "1", "now", "auto"]
    assert (
        lines[3] == "labels: not interchangeable: 3 classes there, 2 wanted; only there: road, car; only wanted: auto"
    )
    assert lines[5].endswith("data.masks.map: {'0': background, '1': ignore, '2': auto}")
    assert main(["vocab", "diff", "voc21", "voc21-plain", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["same_labels"], data["same_store"], data["mask_map"]) == (True, False, None)
    assert {change["kind"] for change in data["changes"]} == {"concepts"}


@pytest.mark.parametrize("verb", [["show", "voc12"], ["check", "voc12"], ["diff", "voc21", "voc12"]])
def test_a_wrong_name(verb, capsys):
    assert main(["vocab", *verb]) == 2
    assert (
        capsys.readouterr().err == "error: vocabulary: 'voc12' is neither a file nor shipped (did you mean 'voc21'?)\n"
    )


def test_list(capsys):
    assert main(["list", "vocabularies", "--json"]) == 0
    rows = {row["name"]: (row["classes"], row["concepts"]) for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 10
    assert (rows["voc21"], rows["context60"]) == ((21, 171), (60, 162))


def test_a_yaml_vocabulary_end_to_end(folder, capsys):
    """In `label`, with and without a configuration; the store keeps concepts, background and templates."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks", "ood", "made"):
        (folder / part).mkdir()
        shape = (6, 8) if part in {"masks", "made"} else (6, 8, 3)
        Image.fromarray(rng.integers(0, 3, shape, np.uint8)).save(folder / part / "a.png")
    assert main(["label", "--images", "ood", "--classes", "my.yaml", "--from", "made", "--out", "a"]) == 0
    (folder / "run.yaml").write_text(
        "data: {root: ., crop_size: 32, classes: my.yaml}\nood: {images: ood, labels: b}\n"
    )
    assert main(["label", "run.yaml", "--from", "made"]) == 0
    wanted = Vocabulary.load("my.yaml")
    for store in ("a", "b"):
        assert PseudoLabelStore.open(store).vocabulary == wanted
        assert PseudoLabelStore.open(store).vocabulary.hash == wanted.hash
    capsys.readouterr()
    (folder / "my.yaml").write_text(MINE.replace("0.4", "0.5"))  # another answer of the teacher: another store
    assert main(["label", "run.yaml", "--from", "made"]) == 3
    assert "labelled with other concepts of the same classes" in capsys.readouterr().err
    (folder / "my.yaml").write_text("classes: [road, road]\n")
    assert main(["label", "run.yaml", "--from", "made"]) == 2
    assert "my.yaml:1: class 'road' is listed twice" in capsys.readouterr().err


def test_init_points_to_vocabularies(folder, capsys):
    (folder / "images").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images" / "a.png")
    assert main(["init", ".", "--classes", "road,car"]) == 0
    assert "semiovs vocab show voc21 --yaml" in (folder / "semiovs.yaml").read_text()
