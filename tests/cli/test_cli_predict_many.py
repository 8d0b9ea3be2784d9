"""``semiovs predict`` of many pictures: broken ones, resuming, corrected results, kinds, lists, uncertain ones."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.cli.app import main
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary(("sky", "road", "car"), (), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        torch.manual_seed(seed)
        segmenter = build_segmenter("linear-probe", num_classes=3, encoder="tiny")
        card = ModelCard("linear-probe", 3, CLASSES, {"encoder": "tiny"})
        save_model(folder / f"{seed}.safetensors", segmenter, card)
    return folder


@pytest.fixture
def folder(models, tmp_path, monkeypatch):
    for seed in (0, 1):
        os.link(models / f"{seed}.safetensors", tmp_path / f"{seed}.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_images(folder, count, broken=()):
    rng = np.random.default_rng(0)
    (folder / "in").mkdir()
    for number in range(count):
        path = folder / "in" / f"{number:03d}.png"
        side = 24 if number % 3 else 32
        Image.fromarray(rng.integers(0, 256, (20, side, 3), np.uint8)).save(path)
        if number in broken:
            path.write_bytes(path.read_bytes()[:100])


def run(capsys, *arguments, code=0):
    assert main(["predict", *arguments, "--json"]) == code
    told = capsys.readouterr()
    return (json.loads(told.out) if told.out else None), told.err


@pytest.mark.parametrize("options", [["--workers", "1"], ["--workers", "3", "--batch-size", "8"]])
def test_two_hundred_pictures_with_broken_ones(folder, capsys, options):
    make_images(folder, 200, broken=(3, 77, 199))
    _, err = run(capsys, "0.safetensors", "in", "--out", "out", *options, code=3)
    assert "in/003.png" in err
    found, err = run(capsys, "0.safetensors", "in", "--out", "out", "--on-error", "skip", *options, code=3)
    assert [item["image"] for item in found["failed"]] == [f"in/{n}.png" for n in ("003", "077", "199")]
    assert err.count("left out: ") == 3
    assert [item["image"] for item in found["images"]] == [
        f"in/{n:03d}.png" for n in range(200) if n not in (3, 77, 199)
    ]
    assert found["kept"] >= 3  # those before the first broken one
    assert len([path for path in (folder / "out").iterdir() if path.suffix == ".jpg"]) == 197


def test_threads_and_batches_change_nothing(folder, capsys):
    make_images(folder, 12)
    run(capsys, "0.safetensors", "in", "--out", "one", "--workers", "1")
    run(capsys, "0.safetensors", "in", "--out", "many", "--workers", "3", "--batch-size", "5")
    for number in range(12):
        with Image.open(f"one/{number:03d}.png") as one, Image.open(f"many/{number:03d}.png") as many:
            assert (np.asarray(one) == np.asarray(many)).mean() > 0.999


def test_what_is_done_is_not_done_again(folder, capsys):
    make_images(folder, 6)
    run(capsys, "0.safetensors", "in", "--out", "out")
    first = {path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("*.png")}
    (folder / "out/000.png").unlink()
    (folder / "out/001_color.png").write_bytes((folder / "out/001_color.png").read_bytes()[:60])  # damaged
    Image.new("RGB", (24, 20)).save(folder / "in/002.png")  # another picture
    found, err = run(capsys, "0.safetensors", "in", "--out", "out")
    assert found["kept"] == 3
    assert "3 pictures are done again" in err
    now = {path.name: path.stat().st_mtime_ns for path in (folder / "out").glob("*.png")}
    assert sorted(name for name in now if now[name] == first[name]) == [
        f"{number:03d}{ending}.png" for number in (3, 4, 5) for ending in ("", "_color")
    ]
    assert run(capsys, "0.safetensors", "in", "--out", "out")[0]["kept"] == 6


@pytest.mark.parametrize("other", [["1.safetensors", "in"], ["0.safetensors", "in", "eval.flip=true"]])
def test_results_of_another_model_or_setting_are_done_again(folder, capsys, other):
    make_images(folder, 3)
    run(capsys, "0.safetensors", "in", "--out", "out")
    found, err = run(capsys, *other, "--out", "out")
    assert found["kept"] == 0
    assert "3 pictures are done again" in err
    assert run(capsys, "0.safetensors", "in", "--out", "out", "--save", "ids")[0]["kept"] == 0


def test_a_process_that_was_killed_is_gone_on_with(folder, capsys):
    make_images(folder, 4)
    run(capsys, "0.safetensors", "in", "--out", "out")
    record = folder / "out/predictions.jsonl"
    lines = record.read_text("utf-8").splitlines()
    kept = [line for line in lines if "result" not in line or '"001"' in line]
    record.write_text("\n".join(kept) + '\n{"name": "00', "utf-8")
    assert run(capsys, "0.safetensors", "in", "--out", "out")[0]["kept"] == 1
    assert run(capsys, "0.safetensors", "in", "--out", "out")[0]["kept"] == 4


def test_corrected_masks_are_not_replaced(folder, capsys):
    make_images(folder, 2)
    run(capsys, "0.safetensors", "in", "--out", "out")
    Image.new("L", (32, 20), 1).save(folder / "out/000.png")
    before = (folder / "out/000.png").read_bytes()
    _, err = run(capsys, "0.safetensors", "in", "--out", "out", code=2)
    assert "1 of the results were changed since they were written" in err
    assert (folder / "out/000.png").read_bytes() == before
    assert run(capsys, "0.safetensors", "in", "--out", "out", "--overwrite")[0]["kept"] == 0


def test_kinds_of_results(folder, capsys):
    make_images(folder, 2)
    found, _ = run(capsys, "0.safetensors", "in", "--out", "out", "--save", "confidence,coco,geojson")
    made = sorted(path.name for path in (folder / "out").iterdir())
    assert made == sorted(
        [
            "coco.json",
            "predictions.jsonl",
            *(f"00{n}{e}" for n in (0, 1) for e in (".png", ".geojson", "_confidence.png")),
        ]
    )
    assert len(json.loads((folder / "out/coco.json").read_text("utf-8"))["images"]) == 2
    confidence = np.asarray(Image.open("out/000_confidence.png")) / 255
    assert confidence.mean() == pytest.approx(found["images"][0]["mean_confidence"], abs=0.003)


def test_a_list_and_a_pattern(folder, capsys):
    make_images(folder, 5)
    (folder / "some.txt").write_text("in/001.png\nin/003.png\n", "utf-8")
    assert len(run(capsys, "0.safetensors", "some.txt", "--out", "list")[0]["images"]) == 2
    assert len(run(capsys, "0.safetensors", "in/00[0-2].png", "--out", "pattern")[0]["images"]) == 3


def test_uncertain_pictures_are_a_folder_to_train_with(folder, capsys):
    make_images(folder, 8)
    found, _ = run(capsys, "0.safetensors", "in", "--out", "out", "--save", "overlay", "--uncertain", "3")
    order = sorted(found["images"], key=lambda item: item["mean_confidence"])
    assert found["uncertain"] == [item["image"] for item in order[:3]]
    images, masks = (
        [p.name for p in sorted((folder / "out/uncertain" / kind).iterdir())] for kind in ("images", "masks")
    )
    assert images == masks
    assert len(images) == 3
    assert main(["init", "out/uncertain", "--out", "semiovs.yaml"]) == 0
    written = (folder / "semiovs.yaml").read_text("utf-8")
    assert "images" in written
    assert "masks" in written
    capsys.readouterr()
    _, err = run(capsys, "0.safetensors", "in", "--out", "out", "--uncertain", "3", code=2)
    assert "nothing in it is replaced" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--save", "id"], "--save 'id' is not known"),
        (["--save", ","], "nothing to write"),
        (["--save", "overlay", "--no-overlay"], "nothing to write"),
        (["--tile", "5"], "side of the tiles"),
        (["--precision", "fp8"], "precision 'fp8'"),
        (["--precision", "fp16", "--device", "cpu"], "fp16 needs a GPU"),
        (["--batch-size", "0"], "batch-size"),
        (["--smooth", "1"], "smooth"),
    ],
)
def test_wrong_options(folder, capsys, options, message):
    make_images(folder, 1)
    assert main(["predict", "0.safetensors", "in", "--out", "out", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()
