"""AllSpark's recorded step: weights by their published names, inputs, and the method around them."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from parity.keyfill import state_dict_for
from semiovs.data import Batch, Labeled, Unlabeled
from semiovs.methods import build_method
from semiovs.methods.allspark import AllSpark
from semiovs.models import build_segmenter
from semiovs.models.convert import LoadReport, load_reference

GOLDENS = Path(__file__).parent / "goldens" / "allspark"
LAYOUT = json.loads((Path(__file__).parent / "layouts" / "allspark_mit_b5.json").read_text("utf-8"))
QUEUE, POINTER = "decoder.allspark.attn.kv_queue", "decoder.allspark.attn.queue_ptr"
SIZE = 65


def golden(name: str) -> dict[str, Tensor]:
    """Arrays of one file."""
    return {key: torch.from_numpy(value) for key, value in np.load(GOLDENS / f"{name}.npz").items()}


@functools.cache
def published_state() -> dict[str, Tensor]:
    """The recorded program's weights, for crops of 65 pixels."""
    layout = {name: tuple(shape) for name, shape in LAYOUT.items()} | {QUEUE: (21, 512, 9)}
    state = state_dict_for({name: shape for name, shape in layout.items() if name != POINTER})
    state[QUEUE] *= (512 * 9) ** 0.5
    state["decoder.decoder.linear_pred.weight"] *= 4
    state[POINTER] = (53 * torch.arange(21)) % 512
    state[POINTER][3] = 505
    return state


def without_dropout(module: nn.Module) -> None:
    """Switch dropout and stochastic depth off."""
    for part in module.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
        if hasattr(part, "drop_prob"):
            part.drop_prob = 0.0


def recorded_method(*, parity: bool = True) -> tuple[AllSpark, LoadReport]:
    """The method with the recorded weights; and what the importer said."""
    with torch.device("meta"):  # drawing 80 million numbers that are overwritten takes its time
        segmenter = build_segmenter("segformer", num_classes=21)
    segmenter.to_empty(device="cpu")
    method = build_method("allspark", segmenter, num_classes=21, parity=parity)
    assert isinstance(method, AllSpark)
    report = load_reference(method, published_state(), family="allspark")
    without_dropout(method)
    return method.train(), report


def recorded_batch() -> Batch:
    """Two labelled images, strong views, and two unlabelled ones."""
    given = golden("step_inputs")
    x, u = given["img_x"].float(), given["img_u_s"].float()
    valid = torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    return Batch(Labeled(x.flip(3), given["mask_x"].long(), (x,)), Unlabeled(u, (), valid, ()))
