"""Which streams and views a method wants from the loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Views:
    """Streams and number of strong views.

    labeled: strong views of labelled images (0 for all but AllSpark); unlabeled: strong views of unlabelled images, None if the
    method reads none; mixing: an independent second stream of unlabelled images supplies CutMix partners; ood: strong views of the
    OOD images, None without OOD stream; box: each image draws its own (`cutmix_box`), or all images of a batch have one of half the
    area, or none has (`half_box`; DDFP).
    """

    labeled: int = 0
    unlabeled: int | None = None
    mixing: bool = False
    ood: int | None = None
    box: Literal["each", "half"] = "each"
