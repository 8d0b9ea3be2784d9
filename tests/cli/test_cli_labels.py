"""``semiovs labels``: stats, verify, merge, view, and their mistakes."""

import json

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road", "car"])


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Stores `a` and `b` of three images each, and the images."""
    rng = np.random.default_rng(0)
    for number in range(6):
        store = PseudoLabelStore.create(tmp_path / "ab"[number % 2], CLASSES, teacher={"name": "t"})
        label = rng.choice(np.array([0, 1, 255], np.uint8), (12, 16 + number))
        store.add(f"d/{number}", label, rng.random(label.shape).astype(np.float32) * (number + 1) / 6)
        path = tmp_path / f"images/d/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*label.shape, 3), np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def damage(path):
    data = bytearray(path.read_bytes())
    data[-20] ^= 255
    path.write_bytes(data)


def test_stats(stores, capsys):
    assert main(["labels", "stats", "a", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["images"], data["images_with"]["road"], data["shares"]["car"]) == (3, 3, 0)
    assert sum(data["shares"].values()) + data["ignored_share"] == pytest.approx(1, abs=1e-5)
    assert (data["confidence"]["sampled"], data["confidence"]["with_confidence"]) == (3, 3)
    assert sum(data["confidence"]["histogram"]) == pytest.approx(1)
    assert data["bytes"] == sum(p.stat().st_size for p in (stores / "a").rglob("*") if p.is_file())
    assert data["teacher"] == {"name": "t"}
    assert main(["labels", "stats", "a", "--sample", "1"]) == 0
    out = capsys.readouterr().out
    assert "a: 3 images" in out
    assert "confidence of 1 images: mean 0." in out
    assert "ignored: " in out
    assert main(["labels", "stats", "images"]) == 3
    assert "not a pseudo-label store" in capsys.readouterr().err


def test_a_whole_store_is_verified(stores, capsys):
    (stores / "a/labels/note.txt").write_text("mine")
    assert main(["labels", "verify", "a"]) == 0
    assert "3 images checked, all whole\n  1 files belong to no image (harmless), like labels/note.txt" in (
        capsys.readouterr().out
    )
    assert main(["labels", "verify", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_damage_is_named_and_taken_out(stores, capsys):
    damage(stores / "a/confidence/d/0.png")
    (stores / "a/labels/d/2.png").unlink()
    assert main(["labels", "verify", "a", "--json"]) == 3
    done = capsys.readouterr()
    data = json.loads(done.out)
    assert (data["ok"], data["missing"], data["damaged"]) == (False, ["d/2"], ["d/0"])
    assert done.err == "error: a: 1 missing, 1 damaged; next: semiovs labels verify a --fix\n"
    assert main(["labels", "verify", "a", "--fix"]) == 0
    assert "run `semiovs label` again" in capsys.readouterr().err
    assert PseudoLabelStore.open("a").ids() == ["d/4"]
    assert main(["labels", "verify", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stray"] == []
    assert (stores / "a/labels/d/4.png").exists()


def test_damaged_lines_are_named_and_taken_out(stores, capsys):
    index = stores / "a/index.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(lines[0] + b"\0\0\0\n" + lines[2])
    assert main(["labels", "stats", "a"]) == 3
    assert "index.jsonl:2: damaged line; `semiovs labels verify a --fix`" in capsys.readouterr().err
    assert main(["labels", "verify", "a"]) == 3
    assert "line: 2" in capsys.readouterr().out
    assert main(["labels", "verify", "a", "--fix", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == [2]
    assert PseudoLabelStore.open("a").ids() == ["d/0", "d/4"]
    assert main(["labels", "verify", "a"]) == 0


def test_merge(stores, capsys):
    assert main(["labels", "merge", "m", "a", "b", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["images"], data["added"], data["merged"]) == (6, 6, {"a": 3, "b": 3})
    assert PseudoLabelStore.open("m").ids() == [f"d/{i}" for i in range(6)]
    assert main(["labels", "verify", "m"]) == 0
    capsys.readouterr()
    PseudoLabelStore.open("b").add("d/0", np.zeros((2, 2), np.uint8))
    assert main(["labels", "merge", "m", "b"]) == 3
    assert "'d/0' is labelled differently in m and in b" in capsys.readouterr().err
    assert main(["labels", "merge", "images", "a"]) == 3
    assert "not empty" in capsys.readouterr().err


def test_view(stores, capsys):
    assert main(["labels", "view", "a", "--images", "images", "--out", "x/sheet.png", "--json"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)["images"]] == ["d/0", "d/2", "d/4"]
    with Image.open("x/sheet.png") as sheet:
        assert sheet.width > 700
    assert main(["labels", "view", "a", "--worst", "--count", "2", "--class", "road", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["images"]
    assert [item["id"] for item in shown] == ["d/0", "d/2"]
    assert shown[0]["confidence"] < shown[1]["confidence"]
    listed = "".join(f"images/d/{i}.png\n" for i in (0, 2, 4))
    (stores / "list.txt").write_text(listed)
    (stores / "list.jsonl").write_text("".join(f'{{"id": "d/{i}", "image": "images/d/{i}.png"}}\n' for i in (0, 2, 4)))
    assert main(["labels", "view", "a", "--images", "list.jsonl"]) == 0
    assert main(["labels", "view", "a", "--images", "list.txt"]) == 3
    assert "list.txt: no image 'd/0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["view", "a", "--class", "raod"], 2, "did you mean 'road'"),
        (["view", "a", "--class", "car"], 3, "no images with 'car'"),
        (["view", "a", "--images", "a"], 3, "no image 'd/0'"),
        (["view", "a", "--images", "none"], 3, "none"),
        (["view", "a", "--images", "shrunk"], 3, "are these the images that were labelled?"),
        (["view", "a", "--out", "images"], 3, "images"),
        (["merge", "m"], 2, "DIR"),
        (["merge", "m", "none"], 3, "none: not a pseudo-label store"),
        (["verify", "none"], 3, "none: not a pseudo-label store"),
        (["stats"], 2, "DIR"),
    ],
)
def test_mistakes(stores, capsys, arguments, code, message):
    for number in range(6):
        path = stores / f"shrunk/d/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 3)).save(path)
    assert main(["labels", *arguments]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
