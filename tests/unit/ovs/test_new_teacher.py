"""The page for those who add a teacher does what it says: an installed package, found by its name."""

import json

import numpy as np
import pytest
from PIL import Image

from plug_ins import blocks, installed, plugged
from semiovs.cli.app import main
from semiovs.store import PseudoLabelStore


@pytest.fixture
def colours():
    """The package, as printed."""
    with plugged(installed("new-teacher")):
        yield


@pytest.fixture
def images(tmp_path):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :20, 0] = 255
    picture[:, 20:40, 2] = 250
    (tmp_path / "images").mkdir()
    Image.fromarray(picture).save(tmp_path / "images" / "a.png")
    return tmp_path / "images"


@pytest.fixture
def label(colours, images, tmp_path, capsys):
    (tmp_path / "classes.yaml").write_text(
        "classes: [{name: none, concepts: [black]}, {name: warm, concepts: [red]}, blue]\n"
    )

    def run(out, *more, classes=tmp_path / "classes.yaml"):
        code = main(
            ["label", "--images", str(images), "--classes", str(classes), "--out", str(tmp_path / out), *map(str, more)]
        )
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_it_labels(label, tmp_path):
    assert label("out", "--teacher", "colours", "--set", "softness=0.2")[0] == 0
    store = PseudoLabelStore.open(tmp_path / "out")
    assert [store.label("a")[20, x] for x in (10, 30, 50)] == [1, 2, 0]
    facts = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert facts["teacher"] == {"name": "colours", "softness": 0.2}


def test_it_looks_through_windows_and_joins_ensembles(label, tmp_path):
    closer = ("--set", "tile=32", "--set", "flip=true", "--set", "scales=[1, 0.5]")
    assert label("closer", "--teacher", "colours", *closer)[0] == 0
    members = "[{name: colours}, {name: colours, weight: 2, options: {softness: 0.1, flip: true}}]"
    assert label("both", "--teacher", "ensemble", "--set", f"members={members}")[0] == 0
    for out in ("closer", "both"):
        store = PseudoLabelStore.open(tmp_path / out)
        assert [store.label("a")[20, x] for x in (10, 30, 50)] == [1, 2, 0]
    teacher = json.loads((tmp_path / "closer" / "meta.json").read_text())["teacher"]
    assert teacher == {"name": "colours", "softness": 0.3, "tile": 32, "scales": [1.0, 0.5], "flip": True}


def test_labels_of_other_options_are_not_mixed(label):
    assert label("out", "--teacher", "colours")[0] == 0
    code, said = label("out", "--teacher", "colours", "--set", "flip=true")
    assert code == 3, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["softness=0"], "softness 0 must be above 0"),
        (["tile=33"], "tile=33: a multiple of 4"),
        (["sofness=1"], "did you mean 'softness'"),
    ],
)
def test_mistakes(label, options, said):
    code, text = label("out", "--teacher", "colours", *(part for option in options for part in ("--set", option)))
    assert code == 2
    assert said in text


def test_words_that_it_does_not_know(label, tmp_path):
    (tmp_path / "odd.txt").write_text("red\nmauve\n")
    code, text = label("out", "--teacher", "colours", classes=tmp_path / "odd.txt")
    assert code == 2
    assert "'mauve' is no colour it knows" in text


def test_it_is_listed(colours, capsys):
    assert main(["list", "teachers", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"masks", "clip-dense", "huggingface", "ensemble", "colours"} <= set(rows)
    assert rows["colours"]["options"] == {"softness": 0.3, "tile": None, "stride": None, "scales": [1.0], "flip": False}
    assert rows["colours"]["package"] == "semiovs-colours 1.0"


def test_the_test_of_the_page_passes(colours):
    _, test = blocks("new-teacher", "python")
    names = {}
    exec(test, names)
    names["test_colours"]()
