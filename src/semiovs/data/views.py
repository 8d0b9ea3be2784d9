"""Which streams and views a method wants from the loader."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Views:
    """Streams and number of strong views.

    labeled: strong views of labelled images (0 for all but AllSpark); unlabeled: strong views of unlabelled images, None if the
    method reads none; mixing: an independent second stream of unlabelled images supplies CutMix partners; ood: strong views of the
    OOD images, None without OOD stream.
    """

    labeled: int = 0
    unlabeled: int | None = None
    mixing: bool = False
    ood: int | None = None
