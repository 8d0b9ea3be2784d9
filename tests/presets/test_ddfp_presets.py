"""DDFP's recipes: the published settings, laid over any split, and two steps of each with a small encoder."""

from __future__ import annotations

from importlib import resources

import pytest
import torch

from contract.toy import toy_batch
from semiovs.config import load_config
from semiovs.methods import Progress, build_method
from semiovs.models import build_segmenter

PUBLISHED = {
    # preset: classes, crop, epochs, batch, loss, rate, of the decoder, evaluation, window  (DDFP spec, section 6)
    "voc": ("voc21", 513, 80, 16, "ce", 0.001, 10, "center_crop", 513),
    "cityscapes": ("cityscapes19", 801, 240, 8, "ohem", 0.005, 1, "sliding", 801),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name: str) -> None:
    config = load_config(f"ddfp/{name}").config
    data, train, optim, options = config.data, config.train, config.optim, config.method.options
    found = (data.classes, data.crop_size, train.epochs, train.batch_size, options["loss"])
    assert (*found, optim.lr, optim.head_lr_multiplier, config.eval.mode, config.eval.window) == PUBLISHED[name]
    assert (optim.name, optim.momentum, optim.weight_decay, optim.schedule, optim.lag) == ("sgd", 0.9, 1e-4, "poly", 0)
    assert (options["conf_thresh"], options["ema_decay"], options["eps"], options["warmup"]) == (
        0.95,
        0.999,
        4.0,
        [1, 1],
    )
    assert (config.model.name, config.model.options["encoder"]) == ("deeplabv3plus-dual", "resnet101s")
    assert (options["teacher"], options["parity"]) == ("ema", False)


def test_a_recipe_is_laid_over_a_split() -> None:
    config = load_config("pascal/183", ["extends=ddfp/voc"]).config
    assert config.data.labeled == "splits/pascal/183/labeled.txt"
    assert config.method == load_config("ddfp/voc").config.method


@pytest.mark.parametrize("name", [*PUBLISHED, "recipe"])
@pytest.mark.parametrize("ood", [None, {}])
def test_two_steps(name: str, ood: dict[str, float] | None) -> None:
    assert len((resources.files("semiovs.config") / "presets" / "ddfp" / f"{name}.yaml").read_text().splitlines()) <= 25
    config = load_config(f"ddfp/{name}").config
    torch.manual_seed(0)
    small = {**config.model.options, "encoder": "tiny", "channels": 16, "dilations": [1, 2]}
    segmenter = build_segmenter(config.model.name, num_classes=4, **small)
    method = build_method(config.method.name, segmenter, num_classes=4, ood=ood, **config.method.options).train()
    optimizers = method.optimizers(config.optim)
    for step in range(2):
        loss = method(toy_batch(method, seed=step), Progress(step + 2, 4, step + 2, 4)).terms.objective()
        assert loss.isfinite()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        method.after_step(Progress(step + 2, 4, step + 2, 4))
