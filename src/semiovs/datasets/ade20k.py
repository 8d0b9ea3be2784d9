"""ADE20K: the 150 classes of its scene parsing benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from semiovs.datasets.benchmark import Benchmark, MaskKind
from semiovs.datasets.label_shift import moved_down
from semiovs.datasets.parts import Part

_ARCHIVE = "ADEChallengeData2016.zip of the scene parsing benchmark, sceneparsing.csail.mit.edu"
_FOLDERS = {"train": "training", "val": "validation"}
_LAST = 150


class Ade20k(Benchmark):
    """``images/{training,validation}`` with ``annotations/{training,validation}``: 0 = other, classes count from 1.

    Masks that were moved down by one already (they hold 255, which no official mask does) are read as they are.
    """

    key: ClassVar[str] = "ade20k"
    names: ClassVar[str] = "ade150"
    homes: ClassVar[tuple[str, ...]] = (".", "ADEChallengeData2016", "ade/ADEChallengeData2016", "ade20k", "ADE20K")
    mark: ClassVar[tuple[str, ...]] = ("images/training", "images/validation")

    def kinds(self) -> Sequence[MaskKind]:
        """Official masks; masks that were moved."""
        what = "moved down by one" if self._moved else "as distributed"
        return (MaskKind(what, lambda name: [name], {"reduce_zero_label": not self._moved}),)

    def official(self, part: str) -> list[str]:
        """All images of the part."""
        folder = _FOLDERS[part]
        stems = sorted(self.shelf.stems(f"images/{folder}"))
        return [f"images/{folder}/{stem}.jpg annotations/{folder}/{stem}.png" for stem in stems]

    def parts(self) -> list[Part]:
        """Images and masks."""
        return [
            Part(f"{what} {kind}", f"{kind}/{folder}", self.shelf.count(f"{kind}/{folder}"), count, _ARCHIVE)
            for folder, what, count in (("training", "training", 20210), ("validation", "evaluation", 2000))
            for kind in ("images", "annotations")
        ]

    @cached_property
    def _moved(self) -> bool:
        return moved_down(self.shelf, tuple(f"annotations/{folder}" for folder in _FOLDERS.values()), _LAST)
