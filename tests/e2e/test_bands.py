"""Images with a fourth, infrared band that alone tells two of the classes apart; and gray ones of 16 bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from e2e.folders import settings
from e2e.launcher import command, train
from semiovs.images.readers import BandReader
from semiovs.inference import Predictor
from semiovs.models.weights import load_model

tifffile = pytest.importorskip("tifffile")

#: Reflectances in red, green, blue and infrared, of 10,000: grass and green paint differ in the last alone.
_LEVELS = np.array([[2500, 2300, 2000, 2600], [900, 1900, 700, 6000], [900, 1900, 700, 1200]])
BANDS = {
    "data__bands": "[1,2,3,4]", "data__range": "[0,10000]", "data__rgb": "[1,2,3]", "data__look": "tone", "optim__lr": 0.05,
    "ood__labels": "ood-labels", "method__conf_thresh": 0.6, "train__eval_every": 30,
}  # fmt: skip


def write(root: Path, *, channels: int = 4, side: int = 48) -> Path:
    """images/ masks/ unlabeled/ ood/ ood-labels/ val/: uint16 TIFF, tiled and compressed; 1 channel: 16-bit gray
    PNG.
    """
    generator = np.random.default_rng(0)
    parts = (("images", "masks", 4), ("unlabeled", None, 6), ("ood", "ood-labels", 4), ("val/images", "val/masks", 3))
    for images, masks, count in parts:
        for index in range(count):
            mask = np.zeros((side, side), np.uint8)
            for label in (1, 2):
                x, y = generator.integers(0, side - 18, 2)
                mask[y : y + 18, x : x + 18] = label
            values = (_LEVELS[mask] + generator.normal(0, 150, (side, side, 4))).clip(0).astype(np.uint16)
            stem = f"{images[0]}{index}"
            (root / images).mkdir(parents=True, exist_ok=True)
            if channels == 1:
                Image.fromarray(values[..., 3]).save(root / images / f"{stem}.png")
            else:
                tifffile.imwrite(
                    root / images / f"{stem}.tif", values, photometric="minisblack", planarconfig="contig", tile=(32, 32),
                    compression="deflate",
                )  # fmt: skip
            if masks:
                (root / masks).mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(root / masks / f"{stem}.png")
    (root / "classes.txt").write_text("ground\ngrass\npaint\n")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A run on all four bands."""
    run = tmp_path_factory.mktemp("run") / "run"
    return train(data, run, train__steps=60, **BANDS)


def test_the_infrared_band_is_seen_and_measured(data, run, tmp_path):
    told = yaml.safe_load((run / "config.yaml").read_text())["data"]
    pixels = np.stack(
        [tifffile.imread(f) for part in ("images", "unlabeled") for f in sorted((data / part).glob("*.tif"))]
    )
    np.testing.assert_allclose(told["mean"], (pixels / 10000).mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(told["std"], (pixels / 10000).std((0, 1, 2)), rtol=1e-4)
    assert "measured on the training images" in (run / "config.yaml").read_text()
    segmenter, card = load_model(run)
    assert card.normalization.mean == tuple(told["mean"]) == segmenter.normalization.mean
    assert card.images == BandReader((1, 2, 3, 4), ((0.0, 10000.0),) * 4, (1, 2, 3))
    assert segmenter.backbone.stem[0].weight.shape[1] == 4
    best = json.loads((run / "eval.json").read_text())["best"]
    assert min(best["iou"]["grass"], best["iou"]["paint"]) > 60
    blind = tmp_path / "blind"
    code = command(
        "train", *settings(data, blind, train__steps=60, **{**BANDS, "data__bands": "[1,2,3]"}), log=tmp_path / "log"
    )
    assert code == 0, (tmp_path / "log.err").read_text()
    without = json.loads((blind / "eval.json").read_text())["best"]
    assert min(without["iou"]["grass"], without["iou"]["paint"]) < 45


def test_evaluation_predictions_and_overlays_follow(data, run, tmp_path):
    code = command("evaluate", str(run), "--checkpoint", "best", "--json", log=tmp_path / "log")
    assert code == 0, (tmp_path / "log.err").read_text()
    again = json.loads((tmp_path / "log").read_text())["best"]
    best = json.loads((run / "eval.json").read_text())["best"]
    assert again["miou"] == pytest.approx(best["miou"])
    image = data / "val/images/v0.tif"
    code = command("predict", str(run), str(image), "--out", str(tmp_path / "out"), "--json", log=tmp_path / "predict")
    assert code == 0, (tmp_path / "predict.err").read_text()
    mask = np.asarray(Image.open(data / "val/masks/v0.png"))
    assert (np.asarray(Image.open(tmp_path / "out/v0.png")) == mask).mean() > 0.8
    predictor = Predictor.load(run, device="cpu")
    found = predictor(image)
    values = tifffile.imread(image)
    assert np.array_equal(predictor(values).labels, found.labels)
    assert np.array_equal(predictor(torch.from_numpy(values).movedim(-1, 0)).labels, found.labels)
    np.testing.assert_allclose(np.asarray(found.image), np.clip(values[..., :3] / 10000, 0, 1) * 255, atol=0.51)
    Image.fromarray(values[..., 3]).save(tmp_path / "gray.png")
    assert (
        command("predict", str(run), str(tmp_path / "gray.png"), "--out", str(tmp_path / "o"), log=tmp_path / "few")
        == 3
    )
    assert "gray.png: has 1 channel(s), but data.bands asks for 2, 3, 4" in (tmp_path / "few.err").read_text()


def test_a_resumed_run_is_the_same_run(data, run, tmp_path):
    stopped = tmp_path / "run"
    arguments = settings(data, stopped, train__steps=60, **BANDS)
    assert command("train", *arguments, log=tmp_path / "log") == 0
    for file in (stopped / "checkpoints").glob("*"):
        if file.name.startswith(("step-00000060", "best", "last")):
            file.unlink()
    (stopped / "model.safetensors").unlink()
    assert command("resume", str(stopped), log=tmp_path / "resumed") == 0, (tmp_path / "resumed.err").read_text()
    assert (stopped / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert command("resume", str(stopped), "data.bands=[1,2,3,2]", log=tmp_path / "other") == 2
    assert "config: data.bands: the run was started with" in (tmp_path / "other.err").read_text()


def test_a_teacher_sees_the_declared_rgb(data, tmp_path):
    store = tmp_path / "store"
    words = ["label", f"data.root={data}", "ood.images=ood", "data.bands=[1,2,3,4]", "data.range=[0,10000]"]
    teacher = ["--teacher", "small", "--out", str(store), "--json"]
    assert command(*words, *teacher, log=tmp_path / "no") == 3
    assert (
        "a teacher sees RGB, and nothing says which channels those are: set data.rgb"
        in (tmp_path / "no.err").read_text()
    )
    assert command(*words, "data.rgb=[1,2,3]", *teacher, log=tmp_path / "yes") == 0, (tmp_path / "yes.err").read_text()
    assert json.loads((tmp_path / "yes").read_text())["labeled"] == 4
    sheet = ["labels", "view", str(store), "--images", str(data / "ood"), "--out", str(tmp_path / "sheet.png")]
    assert command(*sheet, log=tmp_path / "blind") == 3
    assert "other channels and types are read with data.bands" in (tmp_path / "blind.err").read_text()
    assert (
        command(*sheet, "data.bands=[1,2,3,4]", "data.range=[0,10000]", "data.rgb=[1,2,3]", log=tmp_path / "seen") == 0
    )
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_gray_of_sixteen_bits(tmp_path):
    data = write(tmp_path / "data", channels=1)
    assert command("data", "normalize", f"data.root={data}", "--json", log=tmp_path / "measured") == 0
    measured = json.loads((tmp_path / "measured").read_text())
    assert measured["images"] == 10
    assert measured["data"]["bands"] == [1]
    options = {
        "data__bands": "[1]",
        "data__look": "tone",
        "optim__lr": 0.05,
        "train__steps": 60,
        "train__eval_every": 30,
    }
    run = tmp_path / "run"
    assert command("train", *settings(data, run, **options), log=tmp_path / "log") == 0, (
        tmp_path / "log.err"
    ).read_text()
    told = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert (told["mean"], told["std"]) == (measured["data"]["mean"], measured["data"]["std"])
    best = json.loads((run / "eval.json").read_text())["best"]
    assert min(best["iou"]["grass"], best["iou"]["paint"]) > 60


def test_normalize_proposes_a_range_for_floating_point(data, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "classes.txt").write_text("a\nb\n")
    values = np.random.default_rng(0).normal(-12, 3, (64, 64, 2)).astype(np.float32)
    tifffile.imwrite(tmp_path / "images/a.tif", values, photometric="minisblack", planarconfig="contig")
    (tmp_path / "list.txt").write_text("images/a.tif images/a.png\n")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "images/a.png")
    where = [f"data.root={tmp_path}", "data.labeled=list.txt"]
    assert command("data", "normalize", *where, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    lines = yaml.safe_load((tmp_path / "log").read_text().partition("\n\n")[2])["data"]
    assert lines["bands"] == [1, 2]
    for low, high in lines["range"]:
        assert -24 < low < -18
        assert -6 < high < 0
    assert all(0.4 < mean < 0.6 for mean in lines["mean"])
