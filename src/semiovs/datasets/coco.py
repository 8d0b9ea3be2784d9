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
from semiovs.datasets.coco_masks import MAP_81, MAP_171, Instances
from semiovs.datasets.parts import Making, Part
from semiovs.datasets.splits import LABELED, UNLABELED

_PAGE = "cocodataset.org/#download"
_MASKS = (
    f"masks/ as PNGs; or annotations_trainval2017.zip ({_PAGE}), from which `semiovs data prepare coco --write` makes them; or "
    "stuffthingmaps_trainval2017.zip of COCO-Stuff (github.com/nightrome/cocostuff), unpacked to stuffthingmaps/"
)
_PARTS = ("train2017", "val2017")


class Coco(Benchmark):
    """``train2017/`` and ``val2017/`` (also inside ``images/``), with masks in one of three forms.

    ``masks/<id>.png`` of 81 classes, as the published lists name them; ``stuffthingmaps/<part>/<id>.png``, whose values are mapped;
    ``annotations/instances_<part>.json``, from which ``masks/`` can be made.
    """

    key: ClassVar[str] = "coco"
    names: ClassVar[str] = "coco81"
    homes: ClassVar[tuple[str, ...]] = (".", "coco", "COCO", "coco2017")
    mark: ClassVar[tuple[str, ...]] = (*_PARTS, *(f"images/{part}" for part in _PARTS))

    def kinds(self) -> Sequence[MaskKind]:
        """81 classes as PNGs, or values of stuffthingmaps; of 171 classes only the latter tell."""
        if len(self.vocabulary()) == 171:
            return (MaskKind("stuffthingmaps", _stuffthing, {"map": MAP_171}),)
        return (MaskKind("class ids", _masks), MaskKind("stuffthingmaps", _stuffthing, {"map": MAP_81}))

    def images(self, name: str) -> list[str]:
        """As named, or inside ``images/``."""
        return [name, f"images/{name}"]

    def official(self, part: str) -> list[str]:
        """All images of the part."""
        return [line(f"{part}2017", stem) for stem in sorted(self._stems(f"{part}2017"))]

    def published(self, given: str) -> list[str] | None:
        """As `Benchmark.published`; bare images are the images of train2017 without those of the labelled list."""
        if not given.endswith(f"/{UNLABELED}"):
            return super().published(given)
        labeled = super().published(given.removesuffix(UNLABELED) + LABELED)
        return None if labeled is None else complement(labeled, self._stems("train2017"))

    def parts(self) -> list[Part]:
        """Images and masks."""
        masks = self.shelf.stems("masks", *(f"masks/{part}" for part in _PARTS))
        maps = self.shelf.stems(*(f"stuffthingmaps/{part}" for part in _PARTS))
        counts = {part: len(self._stems(part)) for part in (*_PARTS, "unlabeled2017")}
        return [
            Part("training images", "train2017", counts["train2017"], 118287, f"train2017.zip, {_PAGE}"),
            Part("evaluation images", "val2017", counts["val2017"], 5000, f"val2017.zip, {_PAGE}"),
            Part(
                "bare images",
                "unlabeled2017",
                counts["unlabeled2017"],
                123403,
                f"unlabeled2017.zip, {_PAGE}",
                needed=False,
            ),
            Part(
                "masks",
                "masks" if len(masks) >= len(maps) else "stuffthingmaps",
                max(len(masks), len(maps)),
                123287,
                _MASKS,
            ),
        ]

    def makings(self) -> list[Making]:
        """81-class PNGs of the instance annotations."""
        found = []
        for part in _PARTS:
            paths = [base / "annotations" / f"instances_{part}.json" for base in self.shelf.homes]
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                names = tuple(f"{stem}.png" for stem in sorted(self._stems(part)))
                found.append(Making(f"masks of {path.name}", self.home / "masks", names, _painter(path)))
        return found

    def _stems(self, part: str) -> set[str]:
        return self.shelf.stems(part, f"images/{part}")


def complement(labeled: Iterable[str], stems: Iterable[str]) -> list[str]:
    """Lines of the images of train2017 (`stems`) that are not in the lines `labeled`, sorted."""
    known = {PurePosixPath(one.split(" ", 1)[0]).stem for one in labeled}
    return [line("train2017", stem) for stem in sorted(set(stems) - known)]


def bare_lists(root: Path, labeled: Mapping[str, str]) -> dict[str, str]:
    """Name -> text of the lists of bare images beside lists of labelled ones, from the images of train2017 below `root`."""
    if not labeled or not root.is_dir():
        return {}
    stems = Coco(DataConfig(name="coco", root=str(root))).shelf.stems("train2017", "images/train2017")
    return {
        name.removesuffix(LABELED) + UNLABELED: "\n".join(complement(text.split("\n"), stems)) + "\n"
        for name, text in (labeled.items() if stems else ())
    }


def line(part: str, stem: str) -> str:
    """A line of the published lists."""
    return f"{part}/{stem}.jpg masks/{stem}.png"


def _painter(path: Path) -> Callable[[str], NDArray[np.uint8]]:
    @cache
    def instances() -> Instances:
        return Instances.read(path)

    def paint(name: str) -> NDArray[np.uint8]:
        return instances().paint(PurePosixPath(name).stem)

    return paint


def _masks(name: str) -> list[str]:
    file = PurePosixPath(name).name
    return [name, *(f"masks/{part}/{file}" for part in _PARTS)]


def _stuffthing(name: str) -> list[str]:
    file = PurePosixPath(name).name
    return [f"{folder}/{part}/{file}" for folder in ("stuffthingmaps", "annotations") for part in _PARTS]
