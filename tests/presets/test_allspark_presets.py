"""AllSpark's recipes: the published settings, laid over any split, and two steps of each with a small encoder."""

from __future__ import annotations

import pytest
import torch

from contract.toy import toy_batch
from semiovs.config import load_config
from semiovs.methods import Progress, build_method
from semiovs.models import build_segmenter

PUBLISHED = {
    # preset: classes, crop, epochs, batch, loss, warm-up, rate, of the head, evaluation  (AllSpark spec, section 5)
    "voc": ("voc21", 513, 80, 8, "ce", 5, 0.001, 10, "whole"),
    "cityscapes": ("cityscapes19", 801, 240, 8, "ohem", 15, 0.005, 1, "sliding"),
    "coco": ("coco81", 513, 10, 16, "ce", 1, 0.001, 10, "whole"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name: str) -> None:
    config = load_config(f"allspark/{name}").config
    data, train, options, optim = config.data, config.train, config.method.options, config.optim
    found = (data.classes, data.crop_size, train.epochs, train.batch_size, options["loss"], options["warmup_epoch"])
    assert (*found, optim.lr, optim.head_lr_multiplier, config.eval.mode) == PUBLISHED[name]
    assert (optim.name, optim.momentum, optim.weight_decay, optim.schedule) == ("sgd", 0.9, 1e-4, "poly")
    assert (optim.poly_power, optim.lag, train.precision) == (0.9, 1, "fp32")
    assert (config.method.name, options["conf_thresh"], options["parity"]) == ("allspark", 0, False)
    assert (config.model.name, config.model.options) == ("segformer", {"encoder": "mit_b5", "channels": 768})
    if name == "cityscapes":
        assert (config.eval.window, config.eval.stride) == (801, 534)
        assert (options["ohem_thresh"], options["ohem_min_kept"]) == (0.7, 200_000)


@pytest.mark.parametrize(("split", "recipe"), [("pascal/183", "voc"), ("cityscapes/1_8", "cityscapes")])
def test_a_recipe_is_laid_over_a_split(split: str, recipe: str) -> None:
    loaded, alone = load_config(split, [f"extends=allspark/{recipe}"]), load_config(f"allspark/{recipe}")
    assert loaded.config.data.labeled == f"splits/{split}/labeled.txt"
    for section in ("model", "method", "optim", "eval"):
        assert getattr(loaded.config, section) == getattr(alone.config, section)


@pytest.mark.parametrize("name", PUBLISHED)
def test_two_steps(name: str) -> None:
    config = load_config(f"allspark/{name}", ["ood=elsewhere"]).config
    torch.manual_seed(0)
    options = {**config.model.options, "encoder": "mit_b0", "channels": 16}
    segmenter = build_segmenter(config.model.name, num_classes=4, **options)
    method = build_method(config.method.name, segmenter, num_classes=4, ood={"weight": 1.0}, **config.method.options)
    (optimizer,) = method.train().optimizers(config.optim)
    for number in (1, 2):
        step = method(toy_batch(method, size=65), Progress(number, 10, epoch=number * 10))
        optimizer.zero_grad()
        step.terms.total().backward()
        optimizer.step()
        assert torch.isfinite(step.terms.total())
    assert set(step.terms) == {"x", "u", "ood_s"}
