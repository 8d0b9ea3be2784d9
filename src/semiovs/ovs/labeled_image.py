"""A labelled image that a teacher may learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """A labelled image, read when it is needed.

    unit: name that it shares with its copies and with frames of the same film, its id if there are none: images of one
    unit are never on two sides of a cross-validation; load: reads the image, uint8 RGB (3, H, W), and its mask (H, W)
    uint8, 255 = ignore.
    """

    id: str
    unit: str
    load: Callable[[], tuple[Tensor, Tensor]]
