"""Which streams and strong views a method asks the loader for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ViewRequest:
    """The streams that a method reads, and the number of strong views of their images.

    labeled: strong views of labelled images (0 for all but AllSpark); unlabeled: strong views of unlabelled images,
    None if the method reads none; mixing: whether a second, independent stream of unlabelled images brings the CutMix
    partners; ood: strong views of the OOD images, None without OOD stream; box: ``each``, every image draws its own
    (`draw_cutmix_box`), or ``half``, in half of the batches every image has one of half the area (`draw_half_box`;
    DDFP).
    """

    labeled: int = 0
    unlabeled: int | None = None
    mixing: bool = False
    ood: int | None = None
    box: Literal["each", "half"] = "each"
