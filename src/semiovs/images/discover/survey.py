"""The survey of a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.discover.bands import FoundBands
from semiovs.images.discover.found_classes import FoundClasses
from semiovs.images.folder_walk import walk_files
from semiovs.images.mask_values import Key


@dataclass
class Survey:
    """What a folder of images holds.

    images, masks, unlabeled, val, ood: number of files in the folders of those names; flat: images directly in the
    folder; lists: role -> path of a list, relative to the folder; made: lists to be written, path -> text; outside:
    whether they name files elsewhere; told: roles whose folders a person named; folders: role -> such a folder of
    images without masks, absolute or relative to the folder; other_splits: folders with further lists; classes: of a
    class file that is not a vocabulary by itself; class_names, colors: those of one that is; bands: if the images are
    not 8-bit RGB.
    """

    folder: Path
    images: int = 0
    masks: int = 0
    unlabeled: int = 0
    val: int = 0
    ood: int = 0
    flat: int = 0
    lists: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    outside: bool = False
    told: frozenset[str] = frozenset()
    folders: dict[str, str] = field(default_factory=dict)
    other_splits: list[str] = field(default_factory=list)
    class_file: str | None = None
    classes: FoundClasses | None = None
    class_names: tuple[str, ...] = ()
    colors: Mapping[Key, str] = field(default_factory=dict)
    bands: FoundBands | None = None
    mask_files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ood_images(self) -> str:
        """Where the images from elsewhere are listed, or lie."""
        return (self.lists | self.folders).get("ood", "ood")

    @property
    def bare(self) -> bool:
        """Whether there are images without masks to learn from: two at least, for one is pasted into another."""
        return "unlabeled" in self.folders or self.count_bare() > 1

    @property
    def labeled(self) -> bool:
        """Whether there are images with masks."""
        return "labeled" in self.lists or bool(self.images and self.masks)

    @property
    def evaluated(self) -> bool:
        """Whether there are images to evaluate on."""
        return "val" in {*self.lists, *self.folders} or bool(self.val)

    def count_labeled(self) -> int:
        """Number of images with masks, or of lines of their list."""
        name = self.lists.get("labeled")
        if name is None:
            return min(self.images, self.masks)
        return self._count_lines(name)

    def count_bare(self) -> int:
        """Number of images without masks, or of lines of their list."""
        if "unlabeled" in self.lists:
            return self._count_lines(self.lists["unlabeled"])
        if "unlabeled" in self.folders:
            return sum(1 for _ in walk_files(self.folder / self.folders["unlabeled"], IMAGE_SUFFIXES))
        return max(self.unlabeled, self.flat)

    def _count_lines(self, name: str) -> int:
        """Lines of a list of the folder, written or still to be written."""
        text = self.made.get(name)
        if text is None:
            text = (self.folder / name).read_text("utf-8", errors="replace")
        return sum(bool(line.strip()) for line in text.splitlines())
