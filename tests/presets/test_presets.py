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


def test_recipes_of_papers_read_images_as_published():
    """All others, and configurations without a preset, take the pipeline that is quick."""
    quick = {name for name in PRESETS if load_config(name).config.data.pipeline == "fast"}
    assert quick == {name for name in PRESETS if name.startswith("modern/")} | {"quick", "semivl/quick"}
    assert load_config(None).config.data.pipeline == "fast"


def test_published_settings():
    voc, city = load_config("pascal/183").config, load_config("cityscapes/1_8").config
    assert (voc.data.crop_size, voc.train.epochs, voc.train.batch_size) == (321, 80, 8)
    assert (voc.optim.lr, voc.optim.head_lr_multiplier, voc.method.options["conf_thresh"]) == (0.001, 10, 0.95)
    assert (city.data.crop_size, city.train.epochs, city.train.batch_size) == (801, 240, 8)
    assert (city.optim.lr, city.optim.head_lr_multiplier, city.method.options["conf_thresh"]) == (0.005, 1, 0)
    assert (city.method.options["loss"], city.method.options["ohem_min_kept"]) == ("ohem", 200_000)
    assert (city.eval.mode, city.eval.window, city.eval.stride) == ("sliding", 801, 534)
    assert voc.data.labeled == "splits/pascal/183/labeled.txt"


PREVMATCH = [name for name in PRESETS if name.startswith("prevmatch/")]


def test_published_settings_of_prevmatch():
    keys = ("prev_list_max", "prev_models_max", "prev_conf_thresh", "base_only_epoch", "prev_weighting", "parity")
    wanted = {
        "voc": (8, 3, 0.9, 0, "pixelwise", False),
        "cityscapes": (8, 3, 0, 0, "pixelavg", True),
        "coco": (5, 3, 0.9, 5, "pixelwise", False),
        "ade20k": (5, 3, 0.9, 5, "pixelwise", False),
    }
    assert {f"prevmatch/{name}" for name in wanted} == set(PREVMATCH)
    for name, values in wanted.items():
        options = load_config(f"prevmatch/{name}").config.method.options
        assert tuple(options[key] for key in keys) == values
        assert (options["random_select"], options["prev_snapshot"]) == (True, "paper")
    city, coco, ade = (load_config(f"prevmatch/{name}").config for name in ("cityscapes", "coco", "ade20k"))
    assert (city.method.options["loss"], city.optim.head_lr_multiplier, city.method.options["conf_thresh"]) == (
        "ohem",
        1,
        0,
    )
    assert (coco.model.options["encoder"], coco.train.epochs, coco.data.crop_size) == ("xception65", 30, 513)
    assert (ade.model.options["encoder"], ade.train.epochs, ade.optim.lr) == ("resnet50s", 40, 0.004)
    assert ade.data.masks.reduce_zero_label


def test_a_split_with_another_method_keeps_the_recipe():
    config = load_config("pascal/92", ["method=prevmatch"]).config
    laid = load_config("pascal/92", ["extends=prevmatch/voc"]).config
    assert config.method.options == laid.method.options == load_config("prevmatch/voc").config.method.options
    assert config.data.labeled == laid.data.labeled == "splits/pascal/92/labeled.txt"


@pytest.mark.parametrize("name", PREVMATCH)
def test_two_steps_of_a_shrunk_prevmatch(name):
    import torch

    from contract.toy import toy_batch, toy_method
    from semiovs.methods import Progress

    options = {**load_config(name).config.method.options, "ohem_min_kept": 100}
    method = toy_method("prevmatch", **options)  # two models are in its ring
    (optimizer,) = method.optimizers(load_config(name).config.optim)
    for number in range(2):
        step = method(toy_batch(method, seed=number), Progress(number, 2, 1, 4))
        step.terms.total().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert torch.isfinite(step.terms.total())
        assert step.terms.normaliser == 2.5


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


@pytest.mark.parametrize("name", ["quick", "modern/small", "paper/voc", "paper/cityscapes", *PREVMATCH])
def test_model_and_method_of_a_preset_can_be_built(name):
    from semiovs.methods import build_method
    from semiovs.models import build_segmenter

    config = load_config(name).config
    segmenter = build_segmenter(config.model.name, num_classes=3, **config.model.options)
    method = build_method(config.method.name, segmenter, num_classes=3, **config.method.options)
    assert method.models()["student"] is segmenter
    assert ("ema" in method.models()) == (name == "modern/small")


@pytest.mark.parametrize("name", ["voc", "coco", "ade20k", "cityscapes"])
def test_semivl_settings_and_two_small_steps(name):
    import torch

    from contract.toy import SMALL, toy_batch
    from semiovs.methods import Progress, build_method
    from semiovs.models import build_segmenter

    config = load_config(f"semivl/{name}").config
    optim, model = config.optim, config.model.options
    published = {"voc": (1e-4, 0.01), "coco": (4e-4, 0.001), "ade20k": (4e-4, 0.001), "cityscapes": (5e-5, 0.1)}[name]
    assert optim.lr == pytest.approx(published[0] * published[1])
    assert optim.lr * optim.head_lr_multiplier == pytest.approx(published[0] * 10)
    assert (optim.weight_decay, config.train.batch_size, config.data.crop_size) == (0.01, 8, model["image_size"])
    assert config.train.epochs == {"voc": 80, "coco": 10, "ade20k": 40, "cityscapes": 240}[name]
    stem = {"stem": "resnet18", "taps": [1]} if model.get("stem") else {}
    small = {**model, **SMALL["semivl"], **stem}
    vocabulary = Vocabulary.load(config.data.classes)
    segmenter = build_segmenter("semivl", num_classes=len(vocabulary), **small)
    segmenter.prompt(vocabulary)
    method = build_method("semivl", segmenter, num_classes=len(vocabulary), **config.method.options).train()
    (optimizer,) = method.optimizers(optim)
    for step in range(2):
        terms = method(toy_batch(method, seed=step), Progress(step, 2)).terms
        terms.total().backward()
        optimizer.step()
        assert torch.isfinite(terms.total())
        assert list(terms.extras) == ["mc_fp", "mc_s1", "mc_s2"]


def test_semivl_composes_with_a_split(tmp_path):
    (tmp_path / "my.yaml").write_text("extends: [pascal/92, semivl/voc]\n")
    config = load_config("my.yaml", cwd=tmp_path).config
    assert (config.model.name, config.method.name, config.data.fit) == ("semivl", "semivl", (2048, 512))
    assert config.data.labeled == "splits/pascal/92/labeled.txt"
    assert config.model.options["encoder"] == "ViT-B-16-quickgelu"  # and not pascal/92's resnet101s
