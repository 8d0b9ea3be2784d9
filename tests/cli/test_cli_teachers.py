"""``semiovs label`` with networks that are asked with words."""

import json

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.store import PseudoLabelStore
from unit.tiny_clip import NAME, save_clip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "web").mkdir()
    for i, size in enumerate([(30, 40, 3), (1, 1, 3), (600, 4, 3)]):
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / "web" / f"{i}.png")
    (tmp_path / "classes.yaml").write_text("classes: [{name: rest, concepts: [wall, 'sky, air']}, car]\n")
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMON = ["label", "--images", "web", "--classes", "classes.yaml", "--out", "out"]


def test_clip_dense(folder, capsys):
    weights = save_clip(folder)
    options = ["--set", f"model={NAME}", "--set", "size=32", "--set", "device=cpu", "--set", "tile=32"]
    command = [*COMMON, "--teacher", "clip-dense", "--weights", str(weights), *options, "--batch-size", "2"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labeled"] == 3
    store = PseudoLabelStore.open("out")
    assert [store.label(i).shape for i in store.ids()] == [(30, 40), (1, 1), (600, 4)]
    assert set(np.unique(store.label("0"))) <= {0, 1}
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["already"] == 3


@pytest.mark.parametrize(
    ("teacher", "code", "said"),
    [
        (["huggingface"], 2, "--weights DIR"),
        (["huggingface", "--weights", "nowhere/x"], 4, "nowhere/x: cannot be loaded"),
        (["clip-dense", "--weights", "nothing.pt"], 4, "--weights FILE"),
        (["ensemble"], 2, "needs members"),
        (["ensemble", "--set", "members=none.yaml"], 2, "none.yaml: cannot be read"),
        (["masks", "--set", "flip=true"], 2, "no option 'flip'"),
    ],
)
def test_what_is_missing_is_said_in_one_line(folder, capsys, teacher, code, said):
    if teacher[0] == "huggingface":
        pytest.importorskip("transformers")
    assert main([*COMMON, "--teacher", *teacher]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (folder / "out").exists()


@pytest.fixture
def asked(folder):
    """Teachers by name, as options of the command line, that need no download."""
    clip = ["--weights", str(save_clip(folder)), "--set", f"model={NAME}", "--set", "size=32", "--set", "device=cpu"]
    return {
        "small": [],
        "clip-dense": clip,
        "views": ["--set", "flip=true"],
        "ensemble": ["--set", "members=[{name: masks, options: {root: web}}, {name: small}]"],
    }


@pytest.mark.parametrize("teacher", ["small", "clip-dense", "views", "ensemble"])
@pytest.mark.parametrize("names", ["sky,class_1,class_2", "0,1"])
def test_placeholders_are_no_words(folder, asked, capsys, teacher, names):
    name = "small" if teacher == "views" else teacher
    options = ["--images", "web", "--classes", names, "--out", "out"]
    assert main(["label", *options, "--teacher", name, *asked[teacher]]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"cannot look for '{names.split(',')[-2]}', '{names.split(',')[-1]}': write the real names" in line
    assert "data.classes: classes.txt" in line
    assert not (folder / "out").exists()


@pytest.mark.parametrize("verb", ["card", "calibrate", "select"])
def test_placeholders_are_refused_before_images_are_read(folder, capsys, verb):
    for part in ("images", "masks"):
        (folder / part).mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images/a.png")
    Image.new("L", (8, 8)).save(folder / "masks/a.png")
    more = ["--from", "web", "--out", "chosen"] if verb == "select" else []
    assert main([verb, "data.root=.", "data.classes=[class_0, label 1]", "--teacher", "small", *more]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cannot look for 'class_0', 'label 1'" in line
