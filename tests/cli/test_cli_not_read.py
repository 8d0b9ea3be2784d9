"""What the verbs do not read of a folder they name with its number; patterns mean the same with and without quotes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.cli.app import main
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.vocab import Vocabulary


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set; `photos` with pictures, HEIC, films, a GIF and a folder of more."""
    rng = np.random.default_rng(0)
    for name in ("images/l.png", "photos/a.jpg", "photos/b.png", "photos/day2/c.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    for name in ("a", "b", "c", "l"):
        path = tmp_path / ("masks" if name == "l" else "made") / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 2, (40, 40), np.uint8)).save(path)
    for name in ("IMG_1.HEIC", "IMG_2.heic", "clip.MOV", "day2/more.avif", "README", "notes.txt", ".hidden.heic"):
        (tmp_path / "photos" / name).write_bytes(b"?")
    (tmp_path / "my.yaml").write_text(
        "data: {root: ., classes: [sky, road], crop_size: 32}\nood: {images: photos, labels: labels}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(folder):
    torch.manual_seed(0)
    segmenter = build_segmenter("deeplabv3plus", num_classes=2, encoder="tiny")
    card = ModelCard("deeplabv3plus", 2, Vocabulary(("sky", "road")), {"encoder": "tiny"})
    save_model(folder / "m.safetensors", segmenter, card)
    return "m.safetensors"


def predict(model, *arguments, code=0):
    assert main(["predict", model, *arguments, "--no-overlay", "--json"]) == code


def test_predict_names_what_it_leaves(model, capsys):
    predict(model, "photos", "--out", "out")
    told = capsys.readouterr()
    assert (
        "note: photos: 3 files not read: 2 .heic, 1 .mov; save these pictures as JPEG or PNG; save frames" in told.err
    )
    assert "note: photos: 1 sub-folder not read: day2; --recursive reads them" in told.err
    assert len(json.loads(told.out)["not_read"]) == 2
    predict(model, "photos", "--out", "deep", "--recursive")
    told = capsys.readouterr()
    assert "4 files not read: 2 .heic, 1 .mov, 1 .avif" in told.err
    assert "sub-folder" not in told.err
    assert len(json.loads(told.out)["images"]) == 3


def test_a_folder_of_foreign_pictures_alone(model, folder, capsys):
    for name in ("a.jpg", "b.png"):
        (folder / "photos" / name).unlink()
    predict(model, "photos", "--out", "out", code=3)
    assert "no pictures in this folder" in (told := capsys.readouterr().err)
    assert "2 .heic" in told
    assert "day2; --recursive" in told


def test_a_link_to_nowhere_is_not_passed_over(model, folder, capsys):
    (folder / "photos/gone.jpg").symlink_to("nowhere.jpg")
    predict(model, "photos", "--out", "out", "--on-error", "skip", code=3)
    assert "gone.jpg: no such file" in capsys.readouterr().err


def test_frames_are_told(model, folder, capsys):
    first, *others = [Image.new("RGB", (40, 40), (value, 0, 0)) for value in (0, 90, 200)]
    first.save(folder / "moving.gif", save_all=True, append_images=others)
    predict(model, "moving.gif", "--out", "out")
    assert "note: moving.gif: has 3 pages or frames, and the first is read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("photos/*.jpg", ["a"]),
        ("photos/[ab].*", ["a", "b"]),
        ("p*/day?/c.jpg", ["c"]),
        ("photos/{a.jpg,b.png}", ["a", "b"]),
    ],
)
def test_predict_takes_patterns_that_the_shell_left(model, capsys, pattern, names):
    predict(model, pattern, "--out", "out")
    written = json.loads(capsys.readouterr().out)["images"]
    assert [item["ids"] for item in written] == [f"out/{name}.png" for name in names]


def test_a_pattern_that_fits_nothing(model, capsys):
    predict(model, "photos/*.bmp", "--out", "out", code=3)
    assert "photos/*.bmp: no such" in capsys.readouterr().err


def test_label_names_what_it_leaves(folder, capsys):
    assert main(["label", "my.yaml", "--from", "made"]) == 0
    assert "photos: 4 files not read: 2 .heic, 1 .mov, 1 .avif" in capsys.readouterr().err
    assert main(["label", "my.yaml", "--from", "made", "--images", "photos/[ab].*", "--out", "two"]) == 0
    assert "two: 2 images labelled" in capsys.readouterr().out
    assert main(["label", "my.yaml", "--from", "made", "--images", "photos/*", "--out", "all"]) == 0
    told = capsys.readouterr()
    assert "all: 2 images labelled" in told.out
    assert "3 files not read" in told.err
    assert "1 sub-folder not read: day2" in told.err
    assert main(["label", "my.yaml", "--from", "made", "--images", "photos/a.jpg", "--out", "one"]) == 0
    assert "one: 1 images labelled" in capsys.readouterr().out


def test_a_pattern_that_the_shell_took_apart_is_refused(folder, capsys):
    assert main(["label", "my.yaml", "photos/b.png", "--from", "made", "--images", "photos/a.jpg"]) == 2
    assert "put a pattern with a star into quotes" in capsys.readouterr().err


def test_select_names_what_it_leaves(folder, capsys):
    chosen = ["select", "my.yaml", "--scores", "none", "--json"]
    assert main([*chosen, "--from", "photos", "--out", "out"]) == 0
    told = capsys.readouterr()
    assert told.err.count("note: photos: 4 files not read: 2 .heic, 1 .mov, 1 .avif") == 1
    assert json.loads(told.out)["listed"] == 3
    assert main([*chosen, "--from", "photos/*.jpg", "--out", "two"]) == 0
    assert json.loads(capsys.readouterr().out)["listed"] == 1


def test_images_beside_a_folder_images_are_told(folder, capsys):
    (folder / "photos").rename(folder / "pool")
    (folder / "pool/images").mkdir()
    (folder / "pool/a.jpg").rename(folder / "pool/images/a.jpg")
    line = "pool: only its folder images is read; beside it lie 1 images, the folder day2"
    assert main(["select", "my.yaml", "--scores", "none", "--from", "pool", "--out", "out", "--json"]) == 0
    assert f"note: {line}" in capsys.readouterr().err
    assert main(["label", "my.yaml", "--from", "made", "--images", "pool", "--out", "store"]) == 0
    assert line in capsys.readouterr().err


def test_data_check_names_what_it_leaves(folder, capsys):
    main(["data", "check", "my.yaml", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert found["note"] >= 1
    main(["data", "check", "my.yaml"])
    told = capsys.readouterr().out
    assert "note: files-unread (1)" in told
    assert "photos: 4 files not read: 2 .heic" in told
