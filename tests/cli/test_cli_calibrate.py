"""``semiovs calibrate``, ``card`` and ``label --calibration``: the whole way, and every mistake."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.datasets.folder import FolderDataset
from semiovs.engine.data_fingerprint import DataFingerprint
from semiovs.errors import ConfigError
from semiovs.store import PseudoLabelStore, count_classes

CONFIG = """
data: {root: ., classes: [sky, road, car], crop_size: 32}
ood: {images: ood, labels: labels, confidence: calibrated}
"""


def scores(truth, rng):
    """Scores (3, H, W) of a teacher that is right where it is sure, and takes half the sky for cars."""
    sure = rng.uniform(0.3, 1, truth.shape)
    found = np.where(rng.random(truth.shape) < sure, truth, (truth + 1) % 3)
    found = np.where((truth == 0) & (rng.random(truth.shape) < 0.5), 2, found)
    maps = np.zeros((3, *truth.shape), np.float32)
    np.put_along_axis(maps, found[None], sure[None].astype(np.float32), axis=0)
    return maps


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """20 labelled images, 5 OOD images, 3 for evaluation; score maps for the first two; the working directory."""
    rng = np.random.default_rng(0)
    for images, masks, count in (("images", "masks", 20), ("ood", None, 5), ("val/images", "val/masks", 3)):
        for i in range(count):
            truth = rng.integers(0, 3, (24, 30))
            name = f"{images[0]}{i}"
            for part in (images, *([masks] if masks else []), "made"):
                (tmp_path / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray((truth[..., None] * 80 + rng.integers(0, 40, (24, 30, 3))).astype(np.uint8)).save(
                tmp_path / images / f"{name}.png"
            )
            if masks:
                Image.fromarray(truth.astype(np.uint8)).save(tmp_path / masks / f"{name}.png")
            np.save(tmp_path / f"made/{name}.npy", scores(truth, rng))
    (tmp_path / "my.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys, *arguments):
    code = main([*arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_whole_way(folder, capsys):
    code, out, _ = told(capsys, "calibrate", "my.yaml", "--from", "made", "--out", "c.json")
    assert code == 0
    assert "car" in out
    assert "then: semiovs label my.yaml --teacher masks --from DIR --calibration c.json" in out
    code, out, _ = told(capsys, "label", "my.yaml", "--from", "made", "--calibration", "c.json")
    assert code == 0
    assert "ood.confidence=calibrated" in out
    store = PseudoLabelStore.open("labels")
    assert store.teacher["calibration"]["hash"] == json.loads((folder / "c.json").read_text())["hash"]
    label, confidence = store.label("o0"), store.confidence("o0")
    assert 0 < (label == 255).mean() < 1
    assert (confidence[label == 255] == 0).all()
    assert confidence[label == 1].min() > 128  # road is right more often than not
    stats = count_classes(store)
    config = load_config("my.yaml").config
    assert FolderDataset(config.data, config.ood).read().ood_labels is not None
    assert told(capsys, "label", "my.yaml", "--from", "made", "--calibration", "c.json")[0] == 0
    assert count_classes(PseudoLabelStore.open("labels")) == stats
    code, _, err = told(capsys, "label", "my.yaml", "--from", "made")  # raw labels do not mix with calibrated ones
    assert code == 3
    assert "another teacher" in err


def test_raw_labels_are_refused_where_calibrated_ones_are_wanted(folder, capsys):
    assert told(capsys, "label", "my.yaml", "--from", "made")[0] == 0
    config = load_config("my.yaml").config
    with pytest.raises(ConfigError, match=r"calibrated needs calibrated labels.*semiovs label --calibration") as caught:
        FolderDataset(config.data, config.ood).read()
    assert "\n" not in str(caught.value)
    shutil.rmtree("labels")
    shutil.copytree("masks", "labels")
    with pytest.raises(ConfigError, match="calibrated needs a pseudo-label store"):
        FolderDataset(config.data, config.ood).read()


@pytest.mark.parametrize("verb", ["calibrate", "card"])
def test_evaluation_masks_are_never_read(folder, capsys, verb, monkeypatch):
    """Whole, spoilt or gone: the result is the same, byte for byte."""
    monkeypatch.setattr("semiovs.calibration.page.write_card_page", lambda path, card: None)  # drawing takes a second
    out = {"calibrate": ("--out", "c.json"), "card": ("--out", ".")}[verb]
    made = {"calibrate": "c.json", "card": "card.json"}[verb]
    found = []
    for spoil in (lambda p: None, lambda p: p.write_bytes(b"spoilt"), lambda p: p.unlink()):
        for path in (folder / "val/masks").iterdir():
            spoil(path)
        assert told(capsys, verb, "my.yaml", "--from", "made", *out)[0] == 0
        found.append((folder / made).read_bytes())
        (folder / made).unlink()
    shutil.rmtree("val")
    assert told(capsys, verb, "my.yaml", "data.val=nowhere", "--from", "made", *out)[0] == 0
    assert {(folder / made).read_bytes(), *found} == {found[0]}


def test_a_card_of_few_images_promises_what_they_support(folder, capsys):
    for number in range(8, 20):
        (folder / f"images/i{number}.png").unlink()
        (folder / f"masks/i{number}.png").unlink()
    code, out, _ = told(capsys, "card", "my.yaml", "--from", "made", "--out", "k", "--json")
    made = json.loads(out)
    assert (code, made["images"], made["risk"]) == (0, 8, 0.224)
    assert "--risk 0.224" in made["next"][0]


def test_the_card(folder, capsys):
    code, out, _ = told(capsys, "card", "my.yaml", "--from", "made", "--out", "k", "--risk", "0.2")
    assert code == 0
    assert out.startswith("The teacher alone already scores ")
    assert "k/card.html: the whole card" in out
    page = (folder / "k/card.html").read_text()
    assert not re.search(r"""(src|href)=["']?http|url\(["']?http|@import""", page)  # opens offline
    assert page.count("<svg") == 4  # three classes, reliability
    assert page.count("<img") == 6 * 4
    data = json.loads((folder / "k/card.json").read_text())
    assert data["calibrated"]["precision"] > data["raw"]["precision"]
    assert data["calibrated"]["reliability"]["ece"] < data["raw"]["reliability"]["ece"]
    assert len(data["worst"]) == 6
    assert data["worst"][0]["accuracy"] <= data["worst"][5]["accuracy"]
    code, out, _ = told(capsys, "card", "my.yaml", "--from", "made", "--out", "k", "--json", "--risk", "0.2")
    following = ["semiovs calibrate my.yaml --teacher masks --from made --risk 0.2 --rare global"]
    assert json.loads(out) == {"page": "k/card.html", **data, "next": following}


@pytest.mark.parametrize("verb", ["card", "calibrate"])
def test_a_useless_teacher_is_called_useless(folder, capsys, verb, monkeypatch):
    """Its labels have nothing to do with the images; it is never proposed for labelling."""
    monkeypatch.setattr("semiovs.calibration.page.write_card_page", lambda path, card: None)
    rng = np.random.default_rng(1)
    for path in (folder / "made").glob("i*.npy"):
        np.save(path, scores(rng.integers(0, 3, (24, 30)), rng))
    code, out, _ = told(capsys, verb, "my.yaml", "--from", "made")
    assert code == 3
    line = re.search(r"Do not use it: [\d.]+ mIoU on the 20 labelled images \(.*, 0 % kept at a risk of 0.1\.", out)
    assert line, out
    assert "semiovs label" not in out
    assert "next: # NAME: another teacher" in out
    assert told(capsys, verb, "my.yaml", "--from", "made", "--json")[1].count('"useless": true') == 1


def run_on(directory, images):
    """The files by which a run knows what it was trained with."""
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text("")
    DataFingerprint.of(images).write(directory / "data.json")


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("verb", ["card", "calibrate"])
def test_a_teacher_that_has_learnt_from_these_images_is_flagged(folder, capsys, verb, renamed, monkeypatch):
    """Its answers lie in the run that was trained with them; the same images count under other names too."""
    monkeypatch.setattr("semiovs.calibration.page.write_card_page", lambda path, card: None)
    config = load_config("my.yaml").config
    run_on(folder / "runs/a", FolderDataset(config.data, None).labeled())
    shutil.copytree("made", "runs/a/predictions")
    for i in range(15):
        (folder / f"images/i{i}.png").unlink()
        (folder / f"masks/i{i}.png").unlink()
    names = {f"i{i}": f"new{i}" if renamed else f"i{i}" for i in range(15, 20)}
    for before, after in names.items():
        for path in (f"images/{before}.png", f"masks/{before}.png", f"runs/a/predictions/{before}.npy"):
            (folder / path).rename(folder / path.replace(before, after))
    code, out, _ = told(capsys, verb, "my.yaml", "--from", "runs/a/predictions", "--risk", "0.3")
    assert code == 0, out
    assert "It has learnt from 5 of these 5 images" in out
    assert "runs/a/data.json" in out
    (folder / "runs/a/predictions").rename(folder / "elsewhere")
    assert "has learnt from" not in told(capsys, verb, "my.yaml", "--from", "elsewhere", "--risk", "0.3")[1]


def test_candidates(folder, capsys):
    (folder / "more.yaml").write_text("classes:\n- {name: sky, concepts: [sky, clouds]}\n- road\n- car\n")
    code, out, _ = told(
        capsys, "calibrate", "my.yaml", "--from", "made", "--candidates", "more.yaml", "--out", "c.json", "--json"
    )
    assert code == 0
    choice = json.loads(out)["choice"]
    assert choice["name"] == "configuration"  # this teacher reads no words: both score alike, the first stays
    assert choice["scores"]["configuration"] == choice["scores"]["more.yaml"]
    (folder / "other.yaml").write_text("classes: [sky, road, bus]\n")
    code, _, err = told(capsys, "calibrate", "my.yaml", "--from", "made", "--candidates", "other.yaml")
    assert code == 2
    assert "class 2 is 'bus' there, 'car' wanted" in err


def test_mistakes_are_one_line(folder, capsys):
    def wrong(code, words, *arguments):
        found, _, err = told(capsys, *arguments)
        assert found == code, err
        assert words in err
        assert err.count("\n") == 1, err
        assert "Traceback" not in err

    calibrate = ("calibrate", "my.yaml", "--from", "made", "--out", "c.json")
    wrong(2, "give a configuration", "calibrate")
    wrong(2, "between 0 and 1", *calibrate, "--risk", "1")
    wrong(3, "20 labelled images cannot support a risk of 0.01", *calibrate, "--risk", "0.01")
    wrong(2, "--rare some: global or ignore", *calibrate, "--rare", "some")
    wrong(3, "no such folder of masks", "card", "my.yaml", "--from", "nowhere")
    assert not (folder / "c.json").exists()
    wrong(3, "c.json: cannot be read", "label", "my.yaml", "--from", "made", "--calibration", "c.json")
    assert told(capsys, *calibrate)[0] == 0
    wrong(3, "c.json: for other classes: 3 classes there, "
             "2 wanted", "label", "--images", "ood", "--classes", "a,b", "--out",
          "s", "--from", "made", "--calibration", "c.json")  # fmt: skip
    wrong(3, "fitted for another teacher (suffix: '' there, '_x' now)", "label", "my.yaml", "--from", "made", "--set",
          "suffix=_x", "--calibration", "c.json")  # fmt: skip
    (folder / "c.json").write_text("{")
    wrong(3, "c.json: no calibration", "label", "my.yaml", "--from", "made", "--calibration", "c.json")
    assert not (folder / "labels").exists()
    np.save(folder / "made/i3.npy", np.full((3, 24, 30), np.nan, np.float32))
    wrong(3, "i3.npy", *calibrate)
    (folder / "made/i3.npy").unlink()
    wrong(3, "no mask for image 'i3'", *calibrate)
    shutil.rmtree("images")
    wrong(3, "images: no such folder", *calibrate)
