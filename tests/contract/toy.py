"""The toys of `semiovs.testing`, and what two methods of ours need to be prepared with."""

from __future__ import annotations

from typing import Any

import torch

from semiovs.methods import Method
from semiovs.models import Segmenter
from semiovs.registry import METHODS
from semiovs.testing.toy import ARMS, SEGMENTERS, SMALL, K, ToyMethod, small_segmenter, toy_batch, toy_segmenter

__all__ = ["ARMS", "METHOD_NAMES", "SMALL", "K", "toy_batch", "toy_method", "toy_segmenter"]

METHOD_NAMES = sorted(name for name, entry in METHODS.items() if entry.segmenter in SEGMENTERS)


def toy_method(
    name: str, ood: dict[str, Any] | None = None, *, norm: str = "batch", seed: int = 0, **options: Any
) -> Method:
    """A method around a small segmenter with weights of `seed`; PrevMatch remembers two others, who are sure of
    themselves.
    """
    former = [toy_segmenter(seed + i, norm=norm) for i in (1, 2)] if name == "prevmatch" else []
    if name == "prevmatch":
        options.setdefault("prev_conf_thresh", 0.3)
    dual = METHODS[name].segmenter == "deeplabv3plus-dual"
    method = ToyMethod(name, _confident_dual if dual else None)(ood, norm=norm, seed=seed, **options)
    for model in former:
        model.classifier.weight.data *= 64  # type: ignore[operator, union-attr]
        method.previous.remember(model)  # type: ignore[operator, union-attr]
    return method


def _confident_dual(norm: str) -> Segmenter:
    """A dual segmenter whose teacher, in evaluation mode, is sure of something already."""
    segmenter = small_segmenter("deeplabv3plus-dual", norm)
    with torch.no_grad():
        segmenter.classifier.weight *= 8.0  # type: ignore[operator, union-attr]
    return segmenter
