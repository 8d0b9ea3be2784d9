"""CorrMatch's region propagation against a loop over images and shapes: time, and operators that a device is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure import Row, Size, alternately, counted, row
from semiovs.methods.correlation import Affinity
from semiovs.methods.maths import Target, Threshold
from semiovs.methods.propagation import pack_masks, propagate

K, τ = 21, 0.85


def rows(size: Size) -> list[Row]:
    """Late in training nine tenths of the pixels are sure, early fewer; 65² is a crop of a run on a CPU."""
    full = size.of(321, 33)
    return [
        *propagation(size, "321²x8, nine tenths sure", 8, full, 40.0),
        *propagation(size, "321²x8, a third sure", 8, full, 6.0),
        *propagation(size, "65²x8, nine tenths sure", 8, size.of(65, 17), 40.0),
    ]


def propagation(size: Size, name: str, images: int, side: int, sharpness: float) -> list[Row]:
    """CorrMatch's shapes, from the correlation on, and what they do to the labels: against a loop over images and
    shapes.
    """
    y, alike, positions = scene(images, side, size.of(128, 8), sharpness)
    full = (side, side)
    maps = normalised(alike, positions, full)
    shapes = pack_masks(maps.permute(0, 2, 3, 1).contiguous())

    def ours() -> Target:
        return propagate(y, shapes, Threshold(τ), K)

    def plain() -> tuple[Tensor, Tensor]:
        return one_by_one(y, maps)

    def both() -> None:
        propagate(y, alike.shapes(positions, full), Threshold(τ), K)

    def both_plain() -> None:  # the published program makes the maps of labelled, weak and strong images
        one_by_one(y, [normalised(alike, positions, full) for _ in range(3)][1])

    label, believed = plain()
    assert torch.equal(ours().label, label)
    assert torch.equal(ours().mask(Threshold(τ)), believed)
    times = alternately(size, ours=ours, plain=plain, both=both, both_plain=both_plain)
    name = f"CorrMatch, {{}}, {name}"
    return [
        row(name.format("shapes and propagation"), times, "both", "both_plain", "ms"),
        row(name.format("propagation"), times, "ours", "plain", "ms"),
        counted(name.format("propagation, operators"), calls_of(ours), calls_of(plain), "calls"),
    ]


def scene(images: int, side: int, count: int, sharpness: float) -> tuple[Target, Affinity, Tensor]:
    """Smooth random logits with their labels, a correlation of what is like them, and positions."""
    g = torch.Generator().manual_seed(0)
    low = (side + 7) // 8
    coarse = torch.randn(images, K, 4, 4, generator=g)
    logits, field = (F.interpolate(coarse, size=s, mode="bilinear", align_corners=True) for s in (side, low))
    confidence, label = (sharpness * logits).softmax(1).max(1)
    field = F.normalize(field.flatten(2), dim=1)
    alike = Affinity((4 * field.transpose(1, 2) @ field).softmax(-1), (low, low))
    target = Target(label, confidence, torch.ones_like(label, dtype=torch.bool))
    return target, alike, torch.randint(0, low * low, (count,), generator=g)


def normalised(alike: Affinity, positions: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, M, H, W) bool: all maps at full size, each from 0 to 1."""
    maps = alike.matrix[:, positions].unflatten(2, alike.side)
    maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low) > 0.5


def one_by_one(y: Target, shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Every shape of every image by itself."""
    label, sure = y.label.clone(), y.confidence >= τ
    believed = sure.clone()
    for b in range(len(label)):
        for shape in shapes[b]:
            inside = shape & sure[b]
            voters = inside.sum()
            if voters == 0 or voters / shape.sum() < τ:
                continue
            names, votes = torch.unique(label[b][inside], return_counts=True)
            if votes.max() / voters > τ:
                label[b][shape] = names[votes.argmax()]
                believed[b] |= shape
    return label, believed


class _Calls(TorchDispatchMode):
    """Counts operators: what a GPU is sent, or is waited for."""

    views = ("view", "slice", "select", "unsqueeze", "squeeze", "detach", "unbind", "expand", "alias")
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.__name__.partition(".")[0].strip("_") not in self.views
        return func(*args, **(kwargs or {}))


def calls_of(function: Callable[[], object]) -> float:
    with _Calls() as calls:
        function()
    return float(calls.count)
