"""ADE20K: the 150 classes of the scene parsing benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from semiovs.datasets.benchmark import Benchmark, MaskKind
from semiovs.datasets.label_shift import is_shifted_down
from semiovs.datasets.parts import DatasetPart

_ARCHIVE = "ADEChallengeData2016.zip of the scene parsing benchmark, sceneparsing.csail.mit.edu"
_FOLDERS = {"train": "training", "val": "validation"}
_LAST = 150


class Ade20k(Benchmark):
    """``images/{training,validation}`` with ``annotations/{training,validation}``: 0 = other, classes count from 1.

    Masks already shifted to start at 0 (they hold 255, which no official mask does) are read as they are.
    """

    key: ClassVar[str] = "ade20k"
    default_classes: ClassVar[str] = "ade150"
    content_folders: ClassVar[tuple[str, ...]] = (
        ".",
        "ADEChallengeData2016",
        "ade/ADEChallengeData2016",
        "ade20k",
        "ADE20K",
    )
    content_marks: ClassVar[tuple[str, ...]] = ("images/training", "images/validation")

    def mask_kinds(self) -> Sequence[MaskKind]:
        """Official masks, or masks already shifted to start at 0."""
        what = "moved down by one" if self._shifted else "as distributed"
        return (MaskKind(what, lambda name: [name], {"reduce_zero_label": not self._shifted}),)

    def official_lines(self, part: str) -> list[str]:
        """All images of the part."""
        folder = _FOLDERS[part]
        stems = sorted(self.files.stems(f"images/{folder}"))
        return [f"images/{folder}/{stem}.jpg annotations/{folder}/{stem}.png" for stem in stems]

    def parts(self) -> list[DatasetPart]:
        """Images and masks."""
        return [
            DatasetPart(f"{what} {kind}", f"{kind}/{folder}", self.files.count(f"{kind}/{folder}"), count, _ARCHIVE)
            for folder, what, count in (("training", "training", 20210), ("validation", "evaluation", 2000))
            for kind in ("images", "annotations")
        ]

    @cached_property
    def _shifted(self) -> bool:
        return is_shifted_down(self.files, tuple(f"annotations/{folder}" for folder in _FOLDERS.values()), _LAST)
