"""Names and files that nobody means well with: escape sequences, formulas, bytes that are no text, ten megabytes."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from semiovs.cli import app, console
from semiovs.cli.app import main
from semiovs.config.option_texts import parse_map
from semiovs.control_characters import escape_controls
from semiovs.errors import ConfigError
from semiovs.vocab import Vocabulary

#: Red text, a bell, a new title of the window, the same with a one-byte start, a line back to its begin, letters backwards.
ESCAPES = "\x1b[31m\x07\x1b]0;x\x07\x9b31m\r\u202e"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Ten images of two classes, and a configuration without class names."""
    rng = np.random.default_rng(0)
    for number in range(10):
        for folder, shape in (("images", (24, 32, 3)), ("masks", (24, 32))):
            (tmp_path / folder).mkdir(exist_ok=True)
            values = rng.integers(0, 256 if folder == "images" else 2, shape, np.uint8)
            Image.fromarray(values).save(tmp_path / folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)

    def write(names, **more):
        (tmp_path / "own.yaml").write_text(json.dumps({"data": {"root": ".", "classes": names}, **more}))
        return tmp_path

    return write


def said(capsys):
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.parametrize(
    "command",
    [
        ["data", "check", "own.yaml"],
        ["data", "stats", "own.yaml"],
        ["data", "stats", "own.yaml", "--json"],
        ["config", "show", "own.yaml"],
        ["vocab", "show", "vocabulary.yaml"],
        ["vocab", "show", "vocabulary.yaml", "--json"],
        ["vocab", "show", "vocabulary.yaml", "--yaml"],
        ["vocab", "show", f"none{ESCAPES}"],
        ["vocab", "diff", "vocabulary.yaml", "voc21"],
        ["vocab", "check", "vocabulary.yaml"],
        ["config", "show", "own.yaml", f"{ESCAPES}=1"],
        ["config", "show", "wrong.yaml"],
        [
            "label",
            "--teacher",
            "masks",
            "--from",
            "masks",
            "--images",
            "images",
            "--classes",
            "vocabulary.yaml",
            "--out",
            "s",
        ],
        ["label", "--teacher", f"m{ESCAPES}", "--images", "images", "--out", "s"],
        ["labels", "import", "coco.json", "--images", "images", "--out", "o"],
        ["labels", "import", "coco.json", "--images", "images", "--out", "o", "--classes", "road,car"],
        [
            "labels",
            "export",
            "masks",
            "--classes",
            f"road,{ESCAPES}",
            "--to",
            "coco",
            "--out",
            "o",
            "--class",
            f"x{ESCAPES}",
        ],
        [f"verb{ESCAPES}"],
        ["predict", f"run{ESCAPES}", "images"],
    ],
    ids=range(19),
)
def test_no_escape_sequence_reaches_the_terminal(data, capsys, command):
    root = data([f"road{ESCAPES}", "car"])
    (root / "vocabulary.yaml").write_text(json.dumps({"classes": [f"road{ESCAPES}", "car"]}))
    (root / "wrong.yaml").write_text(json.dumps({f"a{ESCAPES}": 1, "train": {"steps": f"x{ESCAPES}"}}))
    square = [[1, 1, 9, 1, 9, 9, 1, 9]]
    coco = {
        "images": [{"id": 1, "file_name": "0.png"}, {"id": 2, "file_name": f"b{ESCAPES}.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": square}],
        "categories": [{"id": 1, "name": f"road{ESCAPES}"}, {"id": 2, "name": "car"}],
    }
    (root / "coco.json").write_text(json.dumps(coco))
    main(command)
    text = said(capsys)
    assert text
    assert not [char for char in text if not char.isprintable() and char not in "\n\t"]
    if "--json" in command:
        assert json.dumps(ESCAPES)[1:-1] in json.dumps(json.loads(text))


def test_tables_of_a_terminal_keep_only_their_own_colours(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name, value in {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLUMNS": "200",
        "FORCE_COLOR": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    rows = [[console.format_swatch((1, 2, 3)), f"x{ESCAPES}", "\x1b[48;2;1;2;3m   \x1b[0m hidden"]]
    console.out(console.format_table(["[red]a", f"b{ESCAPES}", "c"], rows, title=f"[bold]t{ESCAPES}") + f"\n{ESCAPES}")
    shown = capsys.readouterr().out
    assert "\x1b[48;2;1;2;3m" in shown
    assert shown.count("\x1b[48;2;1;2;3m") == 1
    assert "\x1b[31m" not in shown
    assert not set("\x07\x9b\r\u202e") & set(shown)
    assert "[red]a" in shown
    assert "[bold]t" in shown


def test_long_errors_are_cut(capsys):
    console.error(f"first\n{'x' * 10_000}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: first"
    assert len(lines[1]) < 4100
    assert lines[1].endswith("… and 6,007 more characters")


def test_class_names_of_ten_megabytes():
    with pytest.raises(ConfigError, match=r"class 1 has a name of 10,000,000 characters: 'x{40}…'$"):
        Vocabulary.of(["road", "x" * 10_000_000])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "extends: modern/small\nx: " + "ab " * 700_000),
        ("a.yaml", "extends: " + "m" * 2_000_000),
        ("a.yaml", "data: {classes: [" + "a, " * 700_000 + "b]}"),
        ("a.yaml", "[" * 2_000_000),
    ],
    ids=["a value", "a name", "a list", "brackets"],
)
def test_megabytes_of_yaml_are_refused_at_once(tmp_path, monkeypatch, capsys, name, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    for command in (["config", "show", name], ["vocab", "show", name], ["vocab", "check", name]):
        assert main(command) == 2
        assert f"{name}: 2," in (found := said(capsys))
        assert "characters; at most 1,000,000 are read, is it another file?" in found
    with pytest.raises(ConfigError, match="at most 1,000,000 are read"):
        parse_map([name])


def test_a_class_list_of_one_long_line(tmp_path, capsys):
    (tmp_path / "c.txt").write_text(
        "road\nx" + " " * 200_000 + "y\n"
    )  # blanks that a pattern could go over again and again
    assert main(["vocab", "show", str(tmp_path / "c.txt")]) == 2
    assert "c.txt:2: 200,002 characters in one line; is this a list of classes?" in said(capsys)


def test_dollars_in_class_names_are_no_formulas(data, capsys):
    names = ["$a_{b$", "\\$x$ \\frac{道路\x07"]
    data(names)
    assert main(["data", "check", "own.yaml", "--out", "page"]) == 0
    teacher = ["--teacher", "masks", "--from", "masks", "--risk", "0.3", "--folds", "2"]
    assert main(["card", "own.yaml", *teacher, "--out", "page"]) == 0
    assert "Glyph" not in capsys.readouterr().err
    for page in ("check.html", "card.html"):
        text = (data(names) / "page" / page).read_text()
        svg = text[text.index("<svg") :]
        assert all(f">{escape_controls(name)}</text>" in svg for name in names)


def test_names_of_folders_that_are_no_text(data, capsys):
    """Pages and JSON spell them out; where a file would have to hold them it is one line."""
    root = data(["road", "car"])
    folder = os.path.join(os.fsencode(root), b"b\xff")  # noqa: PTH118 - bytes
    for part in ("images", "masks"):
        shutil.copytree(os.fsencode(root / part), os.path.join(folder, part.encode()))  # noqa: PTH118
    shutil.copy(os.fsencode(root / "images/0.png"), os.path.join(folder, b"images/c\xff.png"))  # noqa: PTH118
    name = os.fsdecode(folder)
    assert main(["init", name]) == 0
    assert "note: 1 images are left out of lists/unlabeled.jsonl: their names are no UTF-8 text" in said(capsys)
    assert main(["data", "check", name, "--out", "page", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["root"] == name
    assert json.loads((root / "page/check.json").read_text())["root"] == name
    assert "b\\udcff" in (root / "page/check.html").read_text()


def test_a_name_that_no_file_can_hold(monkeypatch, capsys):
    def fail(_):
        "lists/b\udcff".encode()

    monkeypatch.setattr(app, "_run", fail)
    assert main(["doctor"]) == 3
    assert capsys.readouterr().err.startswith("error: 'lists/b\\udcff': a name that is no UTF-8 text")
