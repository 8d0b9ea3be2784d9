"""The batch that a method is given at each step: labelled, unlabelled, mixing and OOD images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from semiovs.errors import UsageError


class _BatchPart:
    """Base of the parts of a batch: named tensors; transformations return a new part."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return the part with `function` applied to each tensor."""
        return type(self)(**{f.name: _apply(getattr(self, f.name), function) for f in fields(self)})  # type: ignore[arg-type]


def _apply(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple(_apply(v, function) for v in value)
    if isinstance(value, _BatchPart):
        return value.map(function)
    return value


def take_previous(tensor: Tensor) -> Tensor:
    """In-batch CutMix partners: image i is paired with image i - 1, the first one with the last."""
    return tensor.roll(1, dims=0)


def take_mirrored(tensor: Tensor) -> Tensor:
    """In-batch CutMix partners: image i of B is paired with image B - 1 - i; the middle one of an odd batch with the
    next.
    """
    backward, middle = tensor.flip(0), len(tensor) // 2
    if len(tensor) % 2 == 0 or len(tensor) == 1:
        return backward
    return torch.cat([backward[:middle], tensor[middle + 1 : middle + 2], backward[middle + 1 :]])


def take_next(tensor: Tensor) -> Tensor:
    """In-batch CutMix partners: image i is paired with image i + 1, the last one with the first."""
    return tensor.roll(-1, dims=0)


@dataclass(frozen=True, eq=False)
class Labeled(_BatchPart):
    """Labelled images.

    image: (B, 3, H, W) float, normalised (uint8 between processes); mask: (B, H, W) int64, 255 = ignore;
    strong: strong views (B, 3, H, W) of the same images (AllSpark only).
    """

    image: Tensor
    mask: Tensor
    strong: tuple[Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class Unlabeled(_BatchPart):
    """Unlabelled images.

    weak: (B, 3, H, W); strong: strong views of the same geometry, each (B, 3, H, W); valid: (B, H, W) bool, False on
    padding; boxes: one (B, 4) int64 per strong view, x0, y0, x1, y1 half-open, an empty box is all zeros. Between
    processes a strong view may be the row of numbers that `semiovs.data.make_missing_views` makes it of.
    """

    weak: Tensor
    strong: tuple[Tensor, ...]
    valid: Tensor
    boxes: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class OpenVocab(_BatchPart):
    """Images from elsewhere with labels of an open-vocabulary teacher.

    weak, strong, valid as in `Unlabeled`; label: (B, H, W) int64 (any value where not valid); confidence:
    (B, H, W) float in [0, 1] (uint8 / 255 between processes).
    """

    weak: Tensor
    strong: tuple[Tensor, ...]
    label: Tensor
    confidence: Tensor
    valid: Tensor


@dataclass(frozen=True, eq=False)
class Batch(_BatchPart):
    """One step's images. `mixing` gives the CutMix partners (its boxes are not used); None = partners from the
    batch.
    """

    labeled: Labeled
    unlabeled: Unlabeled | None = None
    mixing: Unlabeled | None = None
    ood: OpenVocab | None = None

    def pair(self, partners: Callable[[Tensor], Tensor] = take_previous) -> tuple[Unlabeled, Unlabeled]:
        """Return the unlabelled images and their CutMix partners: `mixing`, or where there is none those chosen by
        `partners`.

        Raises:
            UsageError: the batch brings no unlabelled images.
        """
        if self.unlabeled is None:
            raise UsageError("the method learns from unlabelled images but the batch brings none")
        return self.unlabeled, self.mixing if self.mixing is not None else self.unlabeled.map(partners)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch on `device`."""
        return self.map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (called by the loader)."""
        return self.map(lambda t: t.pin_memory())

    def images(self) -> int:
        """Number of distinct images in the batch, all parts together (strong views not counted)."""
        parts = (
            self.labeled.image,
            *(p.weak for p in (self.unlabeled, self.mixing, self.ood) if p is not None),
        )
        return sum(t.shape[0] for t in parts)
