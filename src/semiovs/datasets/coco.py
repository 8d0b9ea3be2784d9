"""COCO 2017: 81 classes (background and 80 things), or the 171 of COCO-Stuff."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from semiovs.config.schema import DataConfig
from semiovs.datasets.benchmark import Benchmark, MaskKind
from semiovs.datasets.coco_masks import MAP_81, MAP_171, CocoInstances
from semiovs.datasets.parts import DatasetPart, MaskBuild
from semiovs.datasets.splits import LABELED, UNLABELED

_PAGE = "cocodataset.org/#download"
_MASKS = (
    f"masks/ as PNGs; or annotations_trainval2017.zip ({_PAGE}), from which `semiovs data prepare coco --write` makes them; or "
    "stuffthingmaps_trainval2017.zip of COCO-Stuff (github.com/nightrome/cocostuff), unpacked to stuffthingmaps/"
)
_PARTS = ("train2017", "val2017")


class Coco(Benchmark):
    """``train2017/`` and ``val2017/`` (also inside ``images/``), with masks in one of three forms.

    ``masks/<id>.png`` of 81 classes, as the published lists name them; ``stuffthingmaps/<part>/<id>.png``, whose values
    are mapped; ``annotations/instances_<part>.json``, from which ``masks/`` can be made.
    """

    key: ClassVar[str] = "coco"
    default_classes: ClassVar[str] = "coco81"
    content_folders: ClassVar[tuple[str, ...]] = (".", "coco", "COCO", "coco2017")
    content_marks: ClassVar[tuple[str, ...]] = (*_PARTS, *(f"images/{part}" for part in _PARTS))

    def mask_kinds(self) -> Sequence[MaskKind]:
        """81 classes as PNGs, or stuffthingmaps; 171 classes exist only in the latter."""
        if len(self.vocabulary()) == 171:
            return (MaskKind("stuffthingmaps", _list_stuffthing_paths, {"map": MAP_171}),)
        return (
            MaskKind("class ids", _list_mask_paths),
            MaskKind("stuffthingmaps", _list_stuffthing_paths, {"map": MAP_81}),
        )

    def images(self, name: str) -> list[str]:
        """As named, or inside ``images/``."""
        return [name, f"images/{name}"]

    def official_lines(self, part: str) -> list[str]:
        """All images of the part."""
        return [make_line(f"{part}2017", stem) for stem in sorted(self._stems(f"{part}2017"))]

    def published_lines(self, given: str) -> list[str] | None:
        """As `Benchmark.published_lines`; unlabelled lists are train2017 without the labelled list."""
        if not given.endswith(f"/{UNLABELED}"):
            return super().published_lines(given)
        labeled = super().published_lines(given.removesuffix(UNLABELED) + LABELED)
        return None if labeled is None else list_unlabeled(labeled, self._stems("train2017"))

    def parts(self) -> list[DatasetPart]:
        """Images and masks."""
        masks = self.files.stems("masks", *(f"masks/{part}" for part in _PARTS))
        maps = self.files.stems(*(f"stuffthingmaps/{part}" for part in _PARTS))
        counts = {part: len(self._stems(part)) for part in (*_PARTS, "unlabeled2017")}
        return [
            DatasetPart("training images", "train2017", counts["train2017"], 118287, f"train2017.zip, {_PAGE}"),
            DatasetPart("evaluation images", "val2017", counts["val2017"], 5000, f"val2017.zip, {_PAGE}"),
            DatasetPart(
                "bare images",
                "unlabeled2017",
                counts["unlabeled2017"],
                123403,
                f"unlabeled2017.zip, {_PAGE}",
                needed=False,
            ),
            DatasetPart(
                "masks",
                "masks" if len(masks) >= len(maps) else "stuffthingmaps",
                max(len(masks), len(maps)),
                123287,
                _MASKS,
            ),
        ]

    def mask_builds(self) -> list[MaskBuild]:
        """81-class PNGs of the instance annotations."""
        found = []
        for part in _PARTS:
            paths = [base / "annotations" / f"instances_{part}.json" for base in self.files.folders]
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                names = tuple(f"{stem}.png" for stem in sorted(self._stems(part)))
                found.append(MaskBuild(f"masks of {path.name}", self.home / "masks", names, _make_painter(path)))
        return found

    def _stems(self, part: str) -> set[str]:
        return self.files.stems(part, f"images/{part}")


def list_unlabeled(labeled: Iterable[str], stems: Iterable[str]) -> list[str]:
    """Lines of the images of train2017 (`stems`) that are not in the lines `labeled`, sorted."""
    known = {PurePosixPath(one.split(" ", 1)[0]).stem for one in labeled}
    return [make_line("train2017", stem) for stem in sorted(set(stems) - known)]


def bare_lists(root: Path, labeled: Mapping[str, str]) -> dict[str, str]:
    """Name -> text of the lists of bare images beside lists of labelled ones, from the images of train2017 below `root`."""
    if not labeled or not root.is_dir():
        return {}
    stems = Coco(DataConfig(name="coco", root=str(root))).files.stems("train2017", "images/train2017")
    return {
        name.removesuffix(LABELED) + UNLABELED: "\n".join(list_unlabeled(text.split("\n"), stems)) + "\n"
        for name, text in (labeled.items() if stems else ())
    }


def make_line(part: str, stem: str) -> str:
    """A line of the published lists."""
    return f"{part}/{stem}.jpg masks/{stem}.png"


def _make_painter(path: Path) -> Callable[[str], NDArray[np.uint8]]:
    @cache
    def instances() -> CocoInstances:
        return CocoInstances.read(path)

    def paint(name: str) -> NDArray[np.uint8]:
        return instances().paint(PurePosixPath(name).stem)

    return paint


def _list_mask_paths(name: str) -> list[str]:
    file = PurePosixPath(name).name
    return [name, *(f"masks/{part}/{file}" for part in _PARTS)]


def _list_stuffthing_paths(name: str) -> list[str]:
    file = PurePosixPath(name).name
    return [f"{folder}/{part}/{file}" for folder in ("stuffthingmaps", "annotations") for part in _PARTS]
