"""Sizes of a training follow the images that were found, and the machine."""

from __future__ import annotations

import pytest
from PIL import Image

from semiovs.images.discover import sizes as module
from semiovs.images.discover.discover import discover
from semiovs.images.discover.recipe import Recipe
from semiovs.images.discover.sizes import choose_sizes
from semiovs.images.discover.survey import Survey

GPU, SMALL_GPU = 24 * 2**30, 4 * 2**30
CONVOLUTIONAL = Recipe("modern/small", "")


def make(root, *sizes, masks=True, folder="images"):
    for number, size in enumerate(sizes):
        for kind in (folder, "masks") if masks else (folder,):
            (root / kind).mkdir(exist_ok=True)
            Image.new("L", size).save(root / kind / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("images", "gpu", "crop", "said"),
    [
        ([(500, 375)] * 3, GPU, 320, "usually 375; larger shows more"),
        ([(500, 375)] * 3, None, 160, "usually 375; for a CPU; larger shows more of each image, with a GPU 320"),
        ([(300, 400)] * 3, GPU, 288, "usually 300; no crop need be larger"),
        ([(256, 256), (100, 90), (1000, 256)], GPU, 256, "usually 256"),  # the usual one, not the mean
        ([(100, 140)], None, 96, "usually 100; no crop need be larger"),
        ([(20, 12)], None, 32, "usually 12"),
    ],
)
def test_the_crop_is_no_larger_than_the_usual_short_side(tmp_path, images, gpu, crop, said):
    found = choose_sizes(discover(make(tmp_path, *images)), gpu, CONVOLUTIONAL)
    assert found.crop_size == crop
    assert said in found.crop_reason


def test_the_crop_of_images_in_lists_and_of_unreadable_ones(tmp_path):
    make(tmp_path, (64, 80), (64, 80), masks=False, folder="deep")
    (tmp_path / "train.txt").write_text("deep/0.png deep/1.png\n")
    assert choose_sizes(discover(tmp_path), GPU, CONVOLUTIONAL).crop_size == 64
    (tmp_path / "deep/0.png").write_bytes(b"no picture")
    found = choose_sizes(discover(tmp_path), GPU, CONVOLUTIONAL)
    assert (found.crop_size, found.crop_reason.split("; ")[1]) == (320, "the images' sizes could not be read")


def test_a_sample_of_many_images_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MEASURED", 3)
    asked = []
    monkeypatch.setattr(module, "read_size", lambda path: asked.append(path.name) or (200, 300))
    found = discover(make(tmp_path, *[(8, 8)] * 10))
    assert choose_sizes(found, GPU, CONVOLUTIONAL).crop_size == 192
    assert asked == ["0.png", "4.png", "8.png"]


def survey(tmp_path, labeled, bare):
    return Survey(tmp_path, images=labeled, masks=labeled, unlabeled=bare)


@pytest.mark.parametrize(
    ("labeled", "gpu", "batch", "said"),
    [
        (20, GPU, 8, "lower it if memory runs out"),
        (20, SMALL_GPU, 4, "lower it if memory runs out"),
        (20, None, 4, "for a CPU; with a GPU 8"),
        (3, None, 3, "no more than 3 with masks"),
        (1, GPU, 2, "no more than 1 with masks"),
        (0, GPU, 8, "lower it"),
    ],
)
def test_the_batch_is_no_larger_than_the_labelled_images(tmp_path, labeled, gpu, batch, said):
    found = choose_sizes(survey(tmp_path, labeled, 100), gpu, CONVOLUTIONAL)
    assert found.batch_size == batch
    assert said in found.batch_reason


@pytest.mark.parametrize(
    ("labeled", "bare", "steps", "said"),
    [
        (20, 800, 4000, "40 passes over 800 images; for a first look: train.steps=200"),
        (20, 50, 1000, "160 passes over 50 images"),
        (20, 10**6, 20_000, "0 passes over 1000000 images"),
        (500, 0, 2500, "40 passes over 500 images"),  # no others: supervised
        (0, 0, 1000, "for few images"),
    ],
)
def test_steps_on_a_gpu_follow_the_images(tmp_path, labeled, bare, steps, said):
    found = choose_sizes(survey(tmp_path, labeled, bare), GPU, CONVOLUTIONAL)
    assert found.steps == steps
    assert found.steps_reason.startswith(said)


def test_steps_on_a_cpu_take_a_quarter_of_an_hour(tmp_path):
    found = choose_sizes(survey(tmp_path, 20, 800), None, CONVOLUTIONAL)
    assert (found.crop_size, found.batch_size, found.steps, found.eval_every) == (160, 4, 400, 100)
    assert choose_sizes(survey(tmp_path, 20, 800), GPU, CONVOLUTIONAL).eval_every is None
    assert found.steps_reason == "some 14 minutes on one core of a CPU; more learn more, with a GPU 4000"
    small = choose_sizes(discover(make(tmp_path, *[(48, 48)] * 4)), None, CONVOLUTIONAL)
    assert (small.crop_size, small.batch_size, small.steps) == (32, 4, 1000)  # affordable: 2700
    assert "first look" in small.steps_reason


@pytest.mark.parametrize(
    ("side", "gpu", "dilations"),
    [(640, GPU, None), (640, None, (3, 6, 9)), (200, GPU, (3, 7, 10)), (48, None, (1, 1, 1))],
)
def test_the_decoder_looks_no_further_than_the_crop(tmp_path, side, gpu, dilations):
    """A 3x3 weight that reaches beyond the crop's map is never trained, but counts in whole images."""
    found = choose_sizes(discover(make(tmp_path, *[(side, side)] * 4)), gpu, CONVOLUTIONAL)
    assert found.dilations == dilations
    assert found.as_json().get("model.dilations") == (dilations and list(dilations))
    assert all(dilation < found.crop_size / 16 for dilation in dilations or (6, 12, 18))
