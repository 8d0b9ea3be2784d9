"""``semiovs predict``: what is written where, what is never overwritten, and every mistake."""

import json
import resource
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.cli.app import main
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary(("sky", "road", "car"), (), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    segmenter = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny")
    save_model(tmp_path / "m.safetensors", segmenter, ModelCard("deeplabv3plus", 3, CLASSES, {"encoder": "tiny"}))
    rng = np.random.default_rng(0)
    for name in ("in/a.jpg", "in/b.png", "in/sub/a.jpg", "other/a.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(root):
    """Files of results, without the record of them."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != "predictions.jsonl")


def test_files_of_a_picture(folder, capsys):
    assert main(["predict", "m.safetensors", "in/a.jpg", "--out", "out", "--scores", "--json"]) == 0
    item = json.loads(capsys.readouterr().out)["images"][0]
    assert names(folder / "out") == ["a.png", "a_color.png", "a_overlay.jpg", "a_scores.npz"]
    with (
        Image.open("out/a.png") as ids,
        Image.open("out/a_color.png") as color,
        Image.open("out/a_overlay.jpg") as picture,
    ):
        assert (ids.mode, ids.size, color.mode) == ("L", (30, 20), "P")
        assert (np.asarray(ids) == np.asarray(color)).all()
        assert np.asarray(ids).max() < 3
        assert color.getpalette()[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
        assert picture.width > 30  # with its legend
        scores = np.load("out/a_scores.npz")["scores"]
        assert scores.dtype == np.float16
        assert scores.shape == (3, 20, 30)
        assert (scores.astype(np.float32).argmax(0) == np.asarray(ids)).mean() > 0.95
    assert item["size"] == [20, 30]
    assert sum(item["classes"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("model", "folder_of_results"),
    [
        ("m.safetensors", "predictions"),
        ("run", "run/predictions"),
        ("run/model.safetensors", "run/predictions"),
        ("run/checkpoints/last.safetensors", "run/predictions"),
        ("weights/checkpoints/m.safetensors", "weights/checkpoints/predictions"),
    ],
)
def test_results_lie_in_the_run_or_beside_the_weights(folder, capsys, model, folder_of_results):
    for name in ("run/model", "run/checkpoints/last", "weights/checkpoints/m"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("m.safetensors", f"{name}.safetensors")
    (folder / "run/config.yaml").touch()
    assert main(["predict", model, "in/a.jpg"]) == 0
    assert f"{folder_of_results}: 1 pictures" in capsys.readouterr().out
    assert names(folder / folder_of_results) == ["a.png", "a_color.png", "a_overlay.jpg"]
    assert main(["predict", model, "in/a.jpg"]) == 0
    assert f"{folder_of_results}: 0 pictures segmented, 1 done before" in capsys.readouterr().out


def test_folders_keep_their_shape(folder):
    assert main(["predict", "m.safetensors", "in", "--out", "flat", "--no-overlay"]) == 0
    assert names(folder / "flat") == ["a.png", "a_color.png", "b.png", "b_color.png"]
    assert main(["predict", "m.safetensors", "in", "--out", "deep", "--no-overlay", "--recursive"]) == 0
    assert [n for n in names(folder / "deep") if "color" not in n] == ["a.png", "b.png", "sub/a.png"]
    assert main(["predict", "m.safetensors", "in", "other", "--out", "two", "--no-overlay"]) == 0
    assert [n for n in names(folder / "two") if "color" not in n] == ["in/a.png", "in/b.png", "other/a.png"]


def test_pictures_of_one_name(folder, capsys):
    Image.open("in/a.jpg").save("in/a.png")
    assert main(["predict", "m.safetensors", "in", "--out", "out", "--no-overlay"]) == 0
    assert [n for n in names(folder / "out") if "color" not in n] == ["a.jpg.png", "a.png.png", "b.png"]
    assert main(["predict", "m.safetensors", "in/a.jpg", "other/a.jpg", "--out", "out2"]) == 2
    assert "would both be written" in capsys.readouterr().err
    assert not (folder / "out2").exists()


def test_pictures_are_never_replaced(folder, capsys):
    before = (folder / "in/b.png").read_bytes()
    assert main(["predict", "m.safetensors", "in/b.png", "--out", "in", "--overwrite"]) == 2
    assert "would replace a picture" in capsys.readouterr().err
    assert (folder / "in/b.png").read_bytes() == before


def test_results_are_replaced_on_request(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out/a.png").write_bytes(b"precious")
    assert main(["predict", "m.safetensors", "in/a.jpg", "--out", "out"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "out/a.png").read_bytes() == b"precious"
    assert main(["predict", "m.safetensors", "in/a.jpg", "--out", "out", "--overwrite"]) == 0
    assert Image.open("out/a.png").size == (30, 20)


def test_unreadable_pictures(folder, capsys):
    (folder / "in/a.jpg").write_bytes(b"no picture")
    assert main(["predict", "m.safetensors", "in", "--out", "a"]) == 3
    err = capsys.readouterr().err
    assert "in/a.jpg" in err
    assert "(0 of 2 pictures are done; --on-error skip goes past bad ones)" in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert main(["predict", "m.safetensors", "in", "--out", "b", "--on-error", "skip", "--json"]) == 3
    done = capsys.readouterr()
    data = json.loads(done.out)
    assert [item["image"] for item in data["failed"]] == ["in/a.jpg"]
    assert [item["image"] for item in data["images"]] == ["in/b.png"]
    assert "left out" in done.err
    assert main(["predict", "m.safetensors", "in/a.jpg", "--out", "c", "--on-error", "skip"]) == 3


def test_a_picture_named_twice_is_segmented_once(folder, capsys):
    assert main(["predict", "m.safetensors", "in/a.jpg", "in", "./in/a.jpg", "--out", "out", "--json"]) == 0
    assert sorted(item["image"] for item in json.loads(capsys.readouterr().out)["images"]) == ["in/a.jpg", "in/b.png"]
    assert (folder / "out/a.png").is_file()


def test_a_disk_that_takes_half_a_file_leaves_none(folder, capsys):
    Image.effect_noise((400, 400), 90).convert("RGB").save(folder / "in/noise.png")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        assert main(["predict", "m.safetensors", "in/noise.png", "--out", "out"]) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "File too large" in capsys.readouterr().err
    assert not [name for name in names(folder / "out") if ".tmp-" in name]
    for name in names(folder / "out"):
        with Image.open(folder / "out" / name) as image:
            image.load()


def test_settings_change_how_pictures_go_through(folder, capsys):
    assert (
        main(["predict", "m.safetensors", "in/a.jpg", "eval.mode=center_crop", "eval.window=16", "--out", "out"]) == 0
    )
    assert (np.asarray(Image.open("out/a.png")) == 255).sum() == 20 * 30 - 16 * 16


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["m.safetensors", "nowhere.jpg", "--out", "out"], 3, "nowhere.jpg: no such file"),
        (["m.safetensors", "in/sub/..", "--out", "out", "--on-error", "x"], 2, "skip or fail"),
        (["none", "in", "--out", "out"], 4, "neither a run directory nor a weight file"),
        (["in", "in", "--out", "out"], 4, "run directory"),
        (["in/a.jpg", "in", "--out", "out"], 4, "in/a.jpg"),
        (["m.safetensors", "eval.mode=whole", "--out", "out"], 2, "no pictures"),
        (["m.safetensors", "in", "eval.mode=tiles", "--out", "out"], 2, "tiles"),
        (["m.safetensors", "in", "train.seed=1", "--out", "out"], 2, "predict takes eval.*"),
        (["m.safetensors", "in", "--device", "gpu", "--out", "out"], 2, "device 'gpu'"),
        (["m.safetensors", "in", "--model", "teacher", "--out", "out"], 2, "student and ema"),
        (["m.safetensors", "in/b.png", "--out", "in/a.jpg"], 2, "in/a.jpg is a file"),
    ],
)
def test_every_mistake_is_one_line(folder, capsys, arguments, code, message):
    assert main(["predict", *arguments]) == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (folder / "out").exists()


def test_a_folder_without_pictures(folder, capsys):
    (folder / "empty/more").mkdir(parents=True)
    assert main(["predict", "m.safetensors", "empty", "--out", "out"]) == 3
    assert "--recursive" in capsys.readouterr().err
