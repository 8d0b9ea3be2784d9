"""What a folder holds, listed once: files by name, or by stem where the suffix is written in another way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from semiovs.data.image import IMAGE_SUFFIXES


class Shelf:
    """Files below some folders, found by their paths from there; a folder that is not there holds nothing."""

    def __init__(self, *homes: Path) -> None:
        self.homes = tuple(dict.fromkeys(homes))
        self._read: dict[Path, tuple[frozenset[str], dict[str, list[str]]]] = {}

    def find(self, names: Iterable[str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Path | None:
        """The first of `names` (POSIX paths) that is in one of the folders.

        A file of the same stem and of one of `suffixes` stands for one that has another suffix (``a.JPG`` for ``a.jpg``).
        """
        for name in names:
            folder, _, file = name.rpartition("/")
            for home in self.homes:
                place = home / folder if folder else home
                files, stems = self._listed(place)
                if file in files:
                    return place / file
                for other in stems.get(file.rpartition(".")[0], ()):
                    if other[other.rindex(".") :].lower() in suffixes:
                        return place / other
        return None

    def stems(self, *folders: str) -> set[str]:
        """Stems of the images that stand in any of the folders."""
        return {stem for folder in folders for home in self.homes for stem in self._listed(home / folder)[1]}

    def count(self, *folders: str) -> int:
        """How many `stems` there are."""
        return len(self.stems(*folders))

    def _listed(self, place: Path) -> tuple[frozenset[str], dict[str, list[str]]]:
        """File names, and those of images by their stems."""
        if place not in self._read:
            files = sorted(_files(place))
            stems: dict[str, list[str]] = {}
            for file in files:
                stem, _, suffix = file.rpartition(".")
                if stem and f".{suffix.lower()}" in IMAGE_SUFFIXES:
                    stems.setdefault(stem, []).append(file)
            self._read[place] = (frozenset(files), stems)
        return self._read[place]


def _files(place: Path) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    except (OSError, ValueError):
        return []
