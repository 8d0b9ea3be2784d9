"""Pascal Context: masks of 59 classes and background for 10,103 images of Pascal VOC 2010."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from semiovs.datasets.benchmark import Benchmark, MaskKind
from semiovs.datasets.coco_masks import decode_region, make_blank
from semiovs.datasets.label_shift import is_shifted_down
from semiovs.datasets.parts import DatasetPart, MaskBuild, find_first_folder, read_first_words
from semiovs.datasets.voc import read_mat
from semiovs.errors import DataError

_DEVKIT = "VOCtrainval_03-May-2010.tar, host.robots.ox.ac.uk/pascal/VOC/voc2010 (the images of VOC 2012 hold them too)"
_MASKS = (
    "SegmentationClassContext60/{train,val} as PNGs; or trainval_merged.json, or trainval/*.mat of the authors' page "
    "cs.stanford.edu/~roozbeh/pascal-context, from which `semiovs data prepare context --write` makes them"
)
_FOLDER, _FLAT = "SegmentationClassContext60", "SegmentationClassContext"
_LAST = 59
#: The 59 classes among the 459 of the full annotation, in the order of the vocabulary `context60` (class 1 first).
_IDS = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159, 162,
    187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415,
    416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip


class Context(Benchmark):
    """``JPEGImages/`` with ``SegmentationClassContext60/{train,val}`` or ``SegmentationClassContext/``: ids 0 to 59."""

    key: ClassVar[str] = "pc60"
    default_classes: ClassVar[str] = "context60"
    content_folders: ClassVar[tuple[str, ...]] = (".", "VOC2010", "VOCdevkit/VOC2010", "VOC2012", "VOCdevkit/VOC2012")
    content_marks: ClassVar[tuple[str, ...]] = ("JPEGImages",)

    def mask_kinds(self) -> Sequence[MaskKind]:
        """Class ids; with 59 classes, 0 (background) is ignored unless the masks are already shifted to start at 0."""
        if len(self.vocabulary()) != _LAST:
            return (MaskKind("class ids", _list_mask_paths),)
        what = "moved down by one" if self._shifted else "background and 59 classes"
        return (MaskKind(what, _list_mask_paths, {"reduce_zero_label": not self._shifted}),)

    def official_lines(self, part: str) -> list[str]:
        """Images that have a mask in the folder of the part, or those of ``ImageSets/SegmentationContext``."""
        stems = sorted(self.files.stems(f"{_FOLDER}/{part}"))
        stems = stems or read_first_words(self.home / "ImageSets" / "SegmentationContext" / f"{part}.txt")
        return [f"JPEGImages/{stem}.jpg {_FOLDER}/{part}/{stem}.png" for stem in stems]

    def parts(self) -> list[DatasetPart]:
        """Images and masks."""
        train, val = (self.files.stems(f"{_FOLDER}/{part}") for part in ("train", "val"))
        flat = self.files.stems(_FOLDER, _FLAT)
        parts = [DatasetPart("images", "JPEGImages", self.files.count("JPEGImages"), 10103, _DEVKIT, enough=10100)]
        if flat:
            return [
                *parts,
                DatasetPart("masks", _FLAT, len(flat | train | val), 10103, _MASKS, enough=10100),
            ]
        return [
            *parts,
            DatasetPart("training masks", f"{_FOLDER}/train", len(train), 4998, _MASKS, enough=4996),
            DatasetPart("evaluation masks", f"{_FOLDER}/val", len(val), 5105, _MASKS, enough=5104),
        ]

    def mask_builds(self) -> list[MaskBuild]:
        """PNGs made from the official annotation."""
        if self._json is not None:
            phases, what, paint = (
                {stem: image["phase"] for stem, image in self._images.items()},
                self._json,
                self._paint_from_json,
            )
        elif self._mats is not None:
            phases, what, paint = self._read_phases(self._mats), self._mats, self._paint_from_mat
        else:
            return []
        names = tuple(sorted(f"{phase}/{stem}.png" for stem, phase in phases.items()))
        return [MaskBuild(f"masks of {what.name}", self.home / _FOLDER, names, paint)]

    @cached_property
    def _shifted(self) -> bool:
        return is_shifted_down(self.files, (f"{_FOLDER}/train", f"{_FOLDER}/val", _FOLDER, _FLAT), _LAST)

    @cached_property
    def _json(self) -> Path | None:
        places = (base / "trainval_merged.json" for base in (self.home, self.root))
        return next((place for place in places if place.is_file()), None)

    @cached_property
    def _mats(self) -> Path | None:
        places = (base / place for base in (self.home, self.root) for place in ("trainval", "context/trainval"))
        found = find_first_folder(places)
        return found if found is not None and any(found.glob("*.mat")) else None

    def _read_phases(self, mats: Path) -> dict[str, str]:
        """Part ("train" or "val") of each image, by VOC's own lists."""
        train = set(read_first_words(self.home / "ImageSets" / "Main" / "train.txt"))
        if not train:
            raise DataError(
                f"{self.home / 'ImageSets/Main/train.txt'}: not there; it says which images are for training ({_DEVKIT})"
            )
        return {path.stem: "train" if path.stem in train else "val" for path in mats.glob("*.mat")}

    @cached_property
    def _images(self) -> dict[str, dict[str, Any]]:
        """Images of the JSON file by stem, each with its annotations."""
        assert self._json is not None
        try:
            data = json.loads(self._json.read_bytes())
            images = {
                row["image_id"]: {**row, "height": int(row["height"]), "width": int(row["width"]), "regions": []}
                for row in data["images"]
                if row["phase"] in {"train", "val"}
            }
            for row in data["annos_segmentation"]:
                if row["image_id"] in images:
                    images[row["image_id"]]["regions"].append((int(row["category_id"]), row["segmentation"]))
            return {PurePosixPath(row["file_name"]).stem: row for row in images.values()}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self._json}: not the annotation of Pascal Context ({type(error).__name__}: {error})"
            ) from None

    def _paint_from_json(self, name: str) -> NDArray[np.uint8]:
        image = self._images[PurePosixPath(name).stem]
        full = make_blank(image["height"], image["width"])
        for category, region in image["regions"]:
            if not 0 <= category <= 459:
                raise DataError(f"category {category} is none of Pascal Context's 459")
            full[decode_region(region, *full.shape)] = category
        return map_class_ids(full)

    def _paint_from_mat(self, name: str) -> NDArray[np.uint8]:
        assert self._mats is not None
        path = self._mats / f"{PurePosixPath(name).stem}.mat"
        full = np.asarray(read_mat(path, "LabelMap"))
        if full.ndim != 2 or full.dtype.kind not in "uif" or (full.size and not 0 <= full.min() <= full.max() <= 459):
            raise DataError(f"{path}: LabelMap holds no ids 0..459")
        return map_class_ids(full.astype(np.int64))


def map_class_ids(full: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Ids of the full annotation (0 to 459) -> 0 = background, 1 to 59."""
    table = np.zeros(max(460, int(full.max(initial=0)) + 1), np.uint8)
    table[list(_IDS)] = np.arange(1, len(_IDS) + 1)
    return np.asarray(table[full])


def _list_mask_paths(name: str) -> list[str]:
    file = PurePosixPath(name).name
    return [name, f"{_FOLDER}/{file}", f"{_FLAT}/{file}"] if _FOLDER in name else [name]
