"""Cityscapes: 19 classes, from ``labelTrainIds`` or the ``labelIds`` of the official archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from semiovs.datasets.benchmark import Benchmark, MaskKind
from semiovs.datasets.parts import DatasetPart, list_files
from semiovs.images.conventions import IGNORE

_PAGE = "cityscapes-dataset.com/downloads (with an account)"
_EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
#: Id -> train id; ids that are not evaluated are ignored.
TRAIN_IDS: Mapping[str, int] = {
    **{str(value): IGNORE for value in range(34)},
    **{str(value): rank for rank, value in enumerate(_EVALUATED)},
}
_IMAGE, _TRAIN_IDS, _IDS = "_leftImg8bit.png", "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"


class Cityscapes(Benchmark):
    """``leftImg8bit/{train,val,train_extra}`` with ``gtFine/{train,val}``.

    The published lists name ``*_gtFine_labelTrainIds.png``; where these are not all there, ``*_gtFine_labelIds.png``
    are read through a table.
    """

    key: ClassVar[str] = "cityscapes"
    default_classes: ClassVar[str] = "cityscapes19"
    content_folders: ClassVar[tuple[str, ...]] = (".", "cityscapes", "Cityscapes", "leftImg8bit_trainvaltest")
    content_marks: ClassVar[tuple[str, ...]] = ("leftImg8bit",)
    extra_folders: ClassVar[tuple[str, ...]] = (
        "leftImg8bit_trainvaltest",
        "gtFine_trainvaltest",
        "leftImg8bit_trainextra",
    )

    def mask_kinds(self) -> Sequence[MaskKind]:
        """Train ids, or ids."""
        plain = MaskKind("labelTrainIds", lambda name: [name.replace(_IDS, _TRAIN_IDS)])
        ids = MaskKind("labelIds", lambda name: [name.replace(_TRAIN_IDS, _IDS)], {"map": TRAIN_IDS})
        known = len(self.vocabulary()) == len(_EVALUATED) or self.data.masks.map is not None
        return (plain, ids) if known else (plain,)

    def official_lines(self, part: str) -> list[str]:
        """All images of the part."""
        lines = []
        for image in self._list_files(f"leftImg8bit/{part}", _IMAGE):
            city, stem = image.parent.name, image.name.removesuffix(_IMAGE)
            lines.append(f"leftImg8bit/{part}/{city}/{image.name} gtFine/{part}/{city}/{stem}{_TRAIN_IDS}")
        return lines

    def parts(self) -> list[DatasetPart]:
        """Images and masks."""
        found = []
        for part, what, count in (("train", "training", 2975), ("val", "evaluation", 500)):
            images = len(self._list_files(f"leftImg8bit/{part}", _IMAGE))
            masks = max(len(self._list_files(f"gtFine/{part}", suffix)) for suffix in (_TRAIN_IDS, _IDS))
            archive = f"leftImg8bit_trainvaltest.zip, {_PAGE}"
            found.append(DatasetPart(f"{what} images", f"leftImg8bit/{part}", images, count, archive))
            found.append(
                DatasetPart(f"{what} masks", f"gtFine/{part}", masks, count, f"gtFine_trainvaltest.zip, {_PAGE}")
            )
        extra = len(self._list_files("leftImg8bit/train_extra", _IMAGE))
        archive = f"leftImg8bit_trainextra.zip, {_PAGE}"
        return [*found, DatasetPart("bare images", "leftImg8bit/train_extra", extra, 19998, archive, needed=False)]

    def _list_files(self, folder: str, suffix: str) -> list[Path]:
        return next((files for home in self.files.folders if (files := list(list_files(home / folder, suffix)))), [])
