"""``semiovs card --teachers``, and teachers that learn from the labelled images, on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.store import PseudoLabelStore

CONFIG = """
data: {root: ., classes: [sky, road, car], crop_size: 32}
ood: {images: ood, labels: labels}
"""
PROTOTYPES = "{name: prototypes, options: {encoder: small, device: cpu, centres: 1}}"
COLOURS = np.array([(200, 190, 180), (40, 160, 50), (30, 60, 190)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """12 labelled images of three fields, 2 OOD images, and random score maps for all; the working directory."""
    rng = np.random.default_rng(0)
    for images, count in (("images", 12), ("ood", 2)):
        for i in range(count):
            truth = np.repeat(rng.permutation(3), 16)[None].repeat(32, axis=0).astype(np.uint8)
            name = f"{images[0]}{i}"
            for part in (images, "masks", "made"):
                (tmp_path / part).mkdir(exist_ok=True)
            pixels = COLOURS[truth] + rng.integers(-25, 25, (*truth.shape, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / images / f"{name}.png")
            if images == "images":
                Image.fromarray(truth).save(tmp_path / "masks" / f"{name}.png")
            scores = rng.random((3, *truth.shape)).astype(np.float32)
            np.save(tmp_path / f"made/{name}.npy", scores / scores.sum(axis=0))
    (tmp_path / "my.yaml").write_text(CONFIG)
    (tmp_path / "teachers.yaml").write_text(f"[{{name: masks, options: {{root: made}}}}, {PROTOTYPES}]\n")
    (tmp_path / "mix.yaml").write_text(
        f"[{{name: masks, weight: auto, options: {{root: made}}}}, {PROTOTYPES[:-1]}, weight: auto}}]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("semiovs.calibration.page.render_svg", lambda figure: "<svg></svg>")  # drawing takes seconds
    return tmp_path


def told(capsys, *arguments):
    code = main([*arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_several_teachers_and_the_one_to_use(folder, capsys):
    code, out, _ = told(capsys, "card", "my.yaml", "--teachers", "teachers.yaml", "--out", "k", "--risk", "0.2")
    assert code == 0
    assert "Use prototypes: " in out
    assert "of no use" in out  # the random scores
    data = json.loads((folder / "k/card.json").read_text())
    assert data["chosen"] == "prototypes"
    assert [one["title"] for one in data["teachers"]] == ["prototypes", "masks"]
    assert data["teachers"][0]["learning"]["cross_fitted_folds"] == 5
    assert data["teachers"][0]["miou"] > 60
    assert data["card"]["teacher"]["name"] == "prototypes"
    page = (folder / "k/card.html").read_text()
    assert "2 teachers" in page
    assert "so that none has seen its mask" in page
    step = out.split("next: ")[1]
    assert step.startswith("semiovs calibrate my.yaml --teacher prototypes --set 'encoder=\"small\"'")


def test_calibrate_and_label_with_a_mix_that_learnt(folder, capsys):
    mix = ("--teacher", "ensemble", "--set", "members=mix.yaml")
    code, out, _ = told(capsys, "calibrate", "my.yaml", *mix, "--risk", "0.2", "--out", "c.json", "--json")
    assert code == 0
    made = json.loads(out)
    weights = {one["name"]: one["weight"] for one in made["learning"]["weights"]}
    assert weights == {"masks": 0, "prototypes": 1}  # the random scores have no say
    assert told(capsys, "label", "my.yaml", *mix, "--calibration", "c.json")[0] == 0
    store = PseudoLabelStore.open("labels")
    assert [member["weight"] for member in store.teacher["members"]] == [0, 1]
    learnt = store.teacher["members"][1]["options"]["learnt"]
    assert learnt["images"] == 12
    mask = np.asarray(Image.open("masks/i0.png")).copy()
    Image.fromarray(2 - mask).save("masks/i0.png")
    code, _, err = told(capsys, "label", "my.yaml", *mix)  # another list of labels is another teacher
    assert code == 3
    assert "another teacher" in err


def test_without_labelled_images_there_is_one_line(folder, capsys):
    asked = ["--teacher", "prototypes", "--set", "encoder=small", "--set", "device=cpu"]
    code, _, err = told(capsys, "label", "--images", "ood", "--classes", "sky,road,car", "--out", "new", *asked)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert "learns from labelled images: name a configuration with data.labeled" in line
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--teachers", "prototypes"], "name two or more"),
        (["--teachers", "masks,masks"], "masks (as it is) is given twice"),
        (["--teachers", "masks,prototypes", "--set", "centres=1"], "--set beside --teachers"),
        (["--teachers", "mix.yaml"], "no key 'weight'"),
    ],
)
def test_lists_that_do_not_hold(folder, capsys, arguments, said):
    code, _, err = told(capsys, "card", "my.yaml", *arguments)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert said in line
