"""DDFP's density flow as a part of its step: the step with it, against the same step with a density that costs
nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, Size, alternately, row
from semiovs.config.schema import OptimConfig
from semiovs.data import Batch, Labeled, Unlabeled
from semiovs.methods import Method, Progress, build_method
from semiovs.models import build_segmenter

_CLASSES = 21


def rows(size: Size) -> list[Row]:
    """The ratio is the share of the step that is not the flow: 0.9 says that the flow takes a tenth."""
    settings = [("small", size.of(128, 33), size.of(8, 2)), ("resnet101s", size.of(129, 33), 2)]
    found = []
    for encoder, side, count in settings[: size.of(2, 1)]:
        torch.manual_seed(0)
        segmenter = build_segmenter("deeplabv3plus-dual", num_classes=_CLASSES, encoder=encoder)
        ours = build_method("ddfp", segmenter, num_classes=_CLASSES, conf_thresh=0.05).train()
        free = copy.deepcopy(ours)
        free.flow = _Free()
        given = batch(side, count)
        times = alternately(size, without=_step(free, given), ours=_step(ours, given))
        found.append(
            row(f"DDFP step, {encoder} {side}²×{count}, against one without the flow", times, "ours", "without", "ms")
        )
    return found


class _Free(nn.Module):
    """Stands for a density, so that perturbation and likelihood are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:  # noqa: ARG002 - as Flow
        return -self.scale * x[:, 0]


def batch(side: int, count: int) -> Batch:
    """Images of noise, and a box of half the area."""
    g = torch.Generator().manual_seed(1)

    def image() -> Tensor:
        return torch.randn(count, 3, side, side, generator=g)

    box = torch.tensor([[0, side // 4, side, 3 * side // 4]]).repeat(count, 1)
    valid = torch.ones(count, side, side, dtype=torch.bool)
    mask = torch.randint(0, _CLASSES, (count, side, side), generator=g)
    return Batch(Labeled(image(), mask), Unlabeled(image(), (image(),), valid, (box,)))


def _step(method: Method, given: Batch) -> Callable[[], None]:
    optimizers = method.optimizers(OptimConfig(lr=1e-4))

    def run() -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        method(given, Progress(0, 100), lambda loss: loss.backward()).terms.objective().backward()
        for optimizer in optimizers:
            optimizer.step()
        method.after_step(Progress(0, 100))

    return run
