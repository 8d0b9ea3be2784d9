"""UniMatch V2's recipes: the published settings, laid over any split, and two steps of each with a small encoder."""

from __future__ import annotations

import pytest
import torch

from contract.toy import toy_batch
from semiovs.config import load_config
from semiovs.config.schema import Config
from semiovs.methods import Progress, build_method
from semiovs.models import build_segmenter

PUBLISHED = {
    # preset: classes, crop, epochs, batch, loss, locked, evaluation  (deeplab_methods spec, section 5)
    "voc": ("voc21", 518, 60, 16, "ce", False, "resize"),
    "cityscapes": ("cityscapes19", 798, 180, 8, "ohem", False, "sliding"),
    "ade20k": ("ade150", 518, 60, 8, "ce", True, "resize"),
    "coco": ("coco81", 518, 20, 16, "ce", False, "resize"),
}
MODERN = ["modern/frozen", "modern/tuned", "modern/dinov2-base-ood"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name: str) -> None:
    config = load_config(f"unimatch-v2/{name}").config
    data, train, options = config.data, config.train, config.method.options
    found = (data.classes, data.crop_size, train.epochs, train.batch_size, options["loss"])
    assert (*found, config.model.options["locked"], config.eval.mode) == PUBLISHED[name]
    optim = config.optim
    assert (optim.name, optim.lr, optim.head_lr_multiplier, optim.weight_decay) == ("adamw", 5e-6, 40, 0.01)
    assert (optim.betas, optim.schedule, optim.poly_power, optim.lag) == ((0.9, 0.999), "poly", 0.9, 1)
    assert (options["conf_thresh"], options["ema_decay"]) == (0.95, 0.996)
    assert (config.model.name, config.model.options["encoder"]) == ("dpt", "vit_small_patch14_dinov2")
    assert (config.method.name, train.precision) == ("unimatch-v2", "fp32")
    if config.eval.mode == "sliding":
        assert (config.eval.window, config.eval.stride) == (798, 532)
    else:
        assert config.eval.multiple == 14


@pytest.mark.parametrize(("split", "recipe"), [("pascal/183", "voc"), ("cityscapes/1_8", "cityscapes")])
def test_a_recipe_is_laid_over_a_split(split: str, recipe: str) -> None:
    loaded = load_config(split, [f"extends=unimatch-v2/{recipe}", "model.encoder=vit_base_patch14_dinov2"])
    alone = load_config(f"unimatch-v2/{recipe}")
    assert loaded.config.data.labeled == f"splits/{split}/labeled.txt"
    assert loaded.config.model.options["encoder"] == "vit_base_patch14_dinov2"
    for section in ("method", "optim", "eval"):
        assert getattr(loaded.config, section) == getattr(alone.config, section)


def two_steps(config: Config) -> list[float]:
    """The configured method and optimiser around a small ViT."""
    torch.manual_seed(0)
    options = {**config.model.options, "encoder": "test_vit", "channels": 16}
    segmenter = build_segmenter(config.model.name, num_classes=4, **options)
    ood = config.ood and {"weight": config.ood.weight, "mode": config.ood.mode, "confidence": config.ood.confidence}
    method = build_method(config.method.name, segmenter, num_classes=4, ood=ood, **config.method.options).train()
    (optimizer,) = method.optimizers(config.optim)
    losses = []
    for step in range(2):
        optimizer.zero_grad()
        loss = method(toy_batch(method, size=32), Progress(step, 2)).terms.total()
        loss.backward()
        optimizer.step()
        method.after_step(Progress(step, 2))
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", [*(f"unimatch-v2/{name}" for name in PUBLISHED), *MODERN])
@pytest.mark.parametrize("change", [[], ["method=supervised"], ["method=fixmatch", "method.one_pass=true"]], ids=str)
def test_two_steps(name: str, change: list[str]) -> None:
    first, second = two_steps(load_config(name, change).config)
    assert 0 < second < first + 0.5
    assert first != second


def test_the_modern_recipes() -> None:
    small, tuned, large = (load_config(name).config for name in MODERN)
    assert small.model.options["locked"]
    assert (tuned.model.options["locked"], tuned.method, tuned.optim) == (False, small.method, small.optim)
    assert small.ood is None
    assert not large.model.options["locked"]
    assert large.model.options["encoder"] == "vit_base_patch14_dinov2"
    assert large.ood is not None
    assert large.ood.confidence == "calibrated"
