"""Every shipped preset loads, is short, says what it is, and names things that exist."""

from __future__ import annotations

from importlib import resources

import pytest

from semiovs.config import list_presets, load_config
from semiovs.vocab.vocabulary import Vocabulary

PRESETS = list_presets()


def test_the_published_recipes_are_there():
    assert {"pascal/92", "pascal/1464", "cityscapes/1_16", "paper/voc", "modern/small", "quick"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset(name, tmp_path):
    file = resources.files("semiovs.config") / "presets" / f"{name}.yaml"
    assert len(file.read_text().splitlines()) <= 25
    assert 10 < len(PRESETS[name]) < 125
    config = load_config(name, cwd=tmp_path).config
    assert config.data.root == str(tmp_path)
    assert (config.train.epochs is None) != (config.train.steps is None)
    if isinstance(config.data.classes, str):
        assert len(Vocabulary.load(config.data.classes)) > 1


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("change", ["method=supervised", "method=fixmatch", "ood=elsewhere", "train.steps=3"])
def test_presets_compose_with_the_command_line(name, change):
    key, _, value = change.partition("=")
    values = load_config(name, [change]).values()
    assert str(values.get({"method": "method.name", "ood": "ood.images"}.get(key, key))) == value


def test_published_settings():
    voc, city = load_config("pascal/183").config, load_config("cityscapes/1_8").config
    assert (voc.data.crop_size, voc.train.epochs, voc.train.batch_size) == (321, 80, 8)
    assert (voc.optim.lr, voc.optim.head_lr_multiplier, voc.method.options["conf_thresh"]) == (0.001, 10, 0.95)
    assert (city.data.crop_size, city.train.epochs, city.train.batch_size) == (801, 240, 8)
    assert (city.optim.lr, city.optim.head_lr_multiplier, city.method.options["conf_thresh"]) == (0.005, 1, 0)
    assert (city.method.options["loss"], city.method.options["ohem_min_kept"]) == ("ohem", 200_000)
    assert (city.eval.mode, city.eval.window, city.eval.stride) == ("sliding", 801, 534)
    assert voc.data.labeled == "splits/pascal/183/labeled.txt"


@pytest.mark.parametrize(
    ("name", "classes", "crop", "epochs", "lr", "encoder"),
    [
        ("pascal/u2pl_1_8", 21, 513, 80, 0.001, "resnet101s"),
        ("context/1_32", 60, 321, 80, 0.001, "resnet101s"),
        ("coco/1_512", 81, 513, 30, 0.004, "xception65"),
        ("ade20k/1_16", 150, 513, 40, 0.004, "resnet50s"),
    ],
)
def test_other_published_settings(name, classes, crop, epochs, lr, encoder):
    config = load_config(name).config
    assert len(Vocabulary.load(config.data.classes)) == classes
    assert (config.data.crop_size, config.train.epochs, config.train.batch_size) == (crop, epochs, 8)
    assert (config.optim.lr, config.optim.head_lr_multiplier, config.optim.name) == (lr, 10, "sgd")
    assert (config.model.options["encoder"], config.method.options["conf_thresh"]) == (encoder, 0.95)
    assert config.data.masks.reduce_zero_label == name.startswith("ade20k")


def test_context_without_background():
    config = load_config("context/1_4", ["data.classes=context59", "data.masks.reduce_zero_label=true"]).config
    assert Vocabulary.load(config.data.classes).names == Vocabulary.load("context60").names[1:]


@pytest.mark.parametrize("name", ["quick", "modern/small", "paper/voc", "paper/cityscapes"])
def test_model_and_method_of_a_preset_can_be_built(name):
    from semiovs.methods import build_method
    from semiovs.models import build_segmenter

    config = load_config(name).config
    segmenter = build_segmenter(config.model.name, num_classes=3, **config.model.options)
    method = build_method(config.method.name, segmenter, num_classes=3, **config.method.options)
    assert method.models()["student"] is segmenter
    assert ("ema" in method.models()) == (name == "modern/small")
