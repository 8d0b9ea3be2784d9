"""CorrMatch's recipes: the published settings, laid over any split, and two steps of each with a small encoder."""

from __future__ import annotations

import pytest
import torch

from contract.toy import toy_batch
from semiovs.config import load_config
from semiovs.methods import Progress, build_method
from semiovs.models import build_segmenter

PUBLISHED = {
    # preset: classes, crop, epochs, batch, rate, head, loss  (corrmatch spec, section 5)
    "voc": ("voc21", 321, 80, 16, 0.001, 10, "ce"),
    "cityscapes": ("cityscapes19", 801, 240, 8, 0.005, 1, "ohem"),
}
SPLITS = {"voc": "pascal/183", "cityscapes": "cityscapes/1_8"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name: str) -> None:
    config = load_config(f"corrmatch/{name}").config
    data, train, optim, options = config.data, config.train, config.optim, config.method.options
    found = (data.classes, data.crop_size, train.epochs, train.batch_size, optim.lr, optim.head_lr_multiplier)
    assert (*found, options["loss"]) == PUBLISHED[name]
    assert (optim.name, optim.momentum, optim.weight_decay) == ("sgd", 0.9, 1e-4)
    assert (optim.schedule, optim.poly_power, optim.lag, train.precision) == ("poly", 0.9, 1, "fp32")
    assert (config.method.name, options["conf_thresh"], options["thresh_momentum"]) == ("corrmatch", 0.85, 0.999)
    model = config.model.options
    assert (model["encoder"], model["output_stride"], list(model["dilations"])) == ("resnet101s", 8, [12, 24, 36])
    if name == "cityscapes":
        assert (options["ohem_thresh"], options["ohem_min_kept"]) == (0.7, 100_000)
        assert (config.eval.mode, config.eval.window, config.eval.stride) == ("sliding", 801, 534)
    else:
        assert config.eval.mode == "whole"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_laid_over_a_split(name: str) -> None:
    loaded = load_config(SPLITS[name], [f"extends=corrmatch/{name}", "ood=elsewhere"]).config
    alone = load_config(f"corrmatch/{name}").config
    assert loaded.data.labeled == f"splits/{SPLITS[name]}/labeled.txt"
    assert loaded.ood is not None
    for section in ("model", "method", "optim", "train", "eval"):
        assert getattr(loaded, section) == getattr(alone, section)


@pytest.mark.parametrize("ood", [None, {"mode": "ovs"}, {"mode": "naive"}], ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_two_steps(name: str, ood: dict[str, str] | None) -> None:
    config = load_config(f"corrmatch/{name}").config
    torch.manual_seed(0)
    options = {**config.model.options, "encoder": "tiny", "channels": 16}
    segmenter = build_segmenter(config.model.name, num_classes=4, **options)
    method = build_method(config.method.name, segmenter, num_classes=4, ood=ood, **config.method.options).train()
    (optimizer,) = method.optimizers(config.optim)
    losses = []
    for step in range(2):
        optimizer.zero_grad()
        loss = method(toy_batch(method), Progress(step, 2)).terms.total()
        loss.backward()
        optimizer.step()
        method.after_step(Progress(step, 2))
        losses.append(float(loss.detach()))
    assert 0 < losses[1] < losses[0] + 0.5
    assert losses[0] != losses[1]
