"""DDFP's recorded step: weights by the names of the published layout, the batch, and no chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.keyfill import fill_, state_dict_for
from semiovs.data import Batch, Labeled, Unlabeled
from semiovs.methods import Method, build_method
from semiovs.methods.draws import Draws
from semiovs.models import Segmenter, build_segmenter
from semiovs.models.convert import load_reference

GOLDENS = Path(__file__).parent / "goldens" / "ddfp"
LAYOUT: dict[str, Any] = json.loads((Path(__file__).parent / "layouts" / "ddfp.json").read_text("utf-8"))
CLASSES = 21


def recorded(name: str) -> Any:
    """Arrays or numbers of a golden file."""
    if name.endswith(".json"):
        return json.loads((GOLDENS / name).read_text("utf-8"))
    return np.load(GOLDENS / name)


class Silent(Draws):
    """No noise, and pixels in their order."""

    def noise(self, like: Tensor, std: float) -> Tensor:
        return torch.zeros_like(like)


def student(seed: int = 0) -> Segmenter:
    """The published network with weights of `seed`, loaded by the importer; its dropouts do nothing."""
    segmenter = build_segmenter("deeplabv3plus-dual", num_classes=CLASSES)
    assert load_reference(segmenter, state_dict_for(LAYOUT["student"], seed), family="ddfp").ok
    for module in segmenter.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    with torch.no_grad():
        segmenter.classifier.weight *= recorded("step_expected.json")["final_weight_multiplier"]
    return segmenter


def flow_(flow: torch.nn.Module, multiplier: float = 16.0) -> None:
    """Fill a flow with the recorded weights."""
    fill_(flow, 5)
    with torch.no_grad():
        flow.means *= multiplier  # type: ignore[union-attr]


def method() -> Method:
    """The recorded state before the step: student, another teacher, flow; in float64."""
    built = build_method("ddfp", student(0), num_classes=CLASSES, conf_thresh=0.5, parity=True)
    built.ema.load_state_dict(student(1).state_dict())  # type: ignore[union-attr]
    flow_(built.flow)
    built.draws = Silent()
    return built.double().train()


def batch() -> Batch:
    """The recorded batch; the box is what the recorded mask takes from the other image."""
    given = recorded("step_inputs.npz")
    image, weak, strong = (torch.from_numpy(given[k]).double() for k in ("image_l", "image_u", "image_u_s"))
    valid = torch.from_numpy(given["ignore_mask"]) != 255
    mask = torch.from_numpy(given["label_l"]).long()
    return Batch(Labeled(image, mask), Unlabeled(weak, (strong,), valid, (torch.tensor([[8, 10, 50, 45]] * 2),)))
