"""An index of the files in folders, listed once: found by name, or by stem if the suffix is spelt differently."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from semiovs.images.conventions import IMAGE_SUFFIXES


class FileIndex:
    """Files below some folders, found by relative path; a missing folder counts as empty."""

    def __init__(self, *folders: Path) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self._read: dict[str, list[_FolderListing]] = {}

    def find(self, names: Iterable[str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> Path | None:
        """The first of `names` (relative POSIX paths) that is in one of the folders.

        A file with the same stem and another of the `suffixes` also matches (``a.JPG`` for ``a.jpg``).
        """
        for name in names:
            inner, _, file = name.rpartition("/")
            for folder in self._list_folders(inner):
                if file in folder.files:
                    return folder.place / file
                for other in folder.stems.get(file.rpartition(".")[0], ()):
                    if other[other.rindex(".") :].lower() in suffixes:
                        return folder.place / other
        return None

    def stems(self, *folders: str) -> set[str]:
        """Stems of the images in any of the folders."""
        return {stem for inner in folders for folder in self._list_folders(inner) for stem in folder.stems}

    def count(self, *folders: str) -> int:
        """Number of `stems`."""
        return len(self.stems(*folders))

    def _list_folders(self, inner: str) -> list[_FolderListing]:
        if inner not in self._read:
            self._read[inner] = [_FolderListing.of(root / inner) for root in self.folders]
        return self._read[inner]


@dataclass(frozen=True)
class _FolderListing:
    """Names of the files of a folder, and of its images by their stems."""

    place: Path
    files: frozenset[str]
    stems: dict[str, list[str]]

    @classmethod
    def of(cls, place: Path) -> _FolderListing:
        """List a folder, which may be missing."""
        files, stems = sorted(_list_files(place)), dict[str, list[str]]()
        for file in files:
            stem, _, suffix = file.rpartition(".")
            if stem and f".{suffix.lower()}" in IMAGE_SUFFIXES:
                stems.setdefault(stem, []).append(file)
        return cls(place, frozenset(files), stems)


def _list_files(place: Path) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    except (OSError, ValueError):
        return []
