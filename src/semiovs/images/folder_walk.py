"""Walk through a folder: the rule for which files belong to it, shared by all verbs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from semiovs.images.conventions import FILM_SUFFIXES, FOREIGN_SUFFIXES

#: Folders with thumbnails that storage systems and archives add.
_SHADOWS = ("@eaDir", "__MACOSX")
#: Endings of files that do not make a folder a full one: notes, and what file managers add.
_PLACEHOLDERS = (".md", ".txt", ".ini", ".db", "readme")
#: Endings and folders that are named; the others are counted.
_NAMED = 6


@dataclass
class PassedBy:
    """What a walk passed by. files: ending -> number, without notes (README, .txt); folders: not looked into."""

    files: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)

    def describe(self, place: Path | str, *, way: str = "") -> Iterator[str]:
        """Yield a line for the files and one for the folders that were not read; way: how to read the folders."""
        if total := self.files.total():
            kinds = [f"{number} {ending}" for ending, number in self.files.most_common(_NAMED)]
            rest = total - sum(number for _, number in self.files.most_common(_NAMED))
            shown = ", ".join([*kinds, *([f"{rest} others"] if rest else [])])
            fix = "".join(
                f"; {what}"
                for what, kind in (
                    ("save these pictures as JPEG or PNG", FOREIGN_SUFFIXES),
                    ("save frames of the films as pictures", FILM_SUFFIXES),
                )
                if self.files.keys() & set(kind)
            )
            yield f"{place}: {total} {'file' if total == 1 else 'files'} not read: {shown}{fix}"
        if self.folders:
            number = len(self.folders)
            shown = ", ".join(self.folders[:_NAMED]) + (", …" if number > _NAMED else "")
            yield f"{place}: {number} {'sub-folder' if number == 1 else 'sub-folders'} not read: {shown}{way}"

    def count(self, names: Collection[str]) -> None:
        """Count files by their ending; notes are left out."""
        for name in names:
            if not name.lower().endswith(_PLACEHOLDERS):
                self.files[os.path.splitext(name)[1].lower() or "without ending"] += 1  # noqa: PTH122


def walk_files(
    folder: Path,
    suffixes: Collection[str],
    *,
    deep: bool = True,
    skip: Path | None = None,
    onerror: Callable[[OSError], object] | None = None,
    passed_by: PassedBy | None = None,
) -> Iterator[Path]:
    """Yield the files of a folder whose names end in one of the suffixes (lower case), and, if `deep`, those of all
    folders below.

    Names are sorted; a folder's own files come before those of its subfolders. Hidden files
    and folders are left out. Links to folders are followed, unless they lead back to a folder that is being walked
    through, or to one above it.

    skip: a folder to leave out, with links resolved; onerror: called with the error of folders that cannot be listed;
    passed_by: filled with the files of other suffixes, and the folders that are not looked into.
    """
    endings = tuple(suffixes)
    waiting: list[tuple[Path, tuple[str, ...]]] = [(folder, (os.path.realpath(folder),))]
    while waiting:
        place, above = waiting.pop()
        try:
            with os.scandir(place) as entries:
                found = sorted((e.name, _is_folder(e), e.is_symlink()) for e in entries if not e.name.startswith("."))
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        if passed_by is not None:
            passed_by.count([name for name, inner, _ in found if not inner and not name.lower().endswith(endings)])
            passed_by.folders += [name for name, inner, _ in found if inner and not deep and name not in _SHADOWS]
        yield from (place / name for name, inner, _ in found if not inner and name.lower().endswith(endings))
        below = []
        for name, is_folder, is_link in found if deep else ():
            if is_folder and name not in _SHADOWS:
                real = os.path.realpath(place / name) if is_link else os.path.join(above[-1], name)  # noqa: PTH118
                turns_back = is_link and any(Path(one).is_relative_to(real) for one in above)
                if not turns_back and real != str(skip):
                    below.append((place / name, (*above, real)))
        waiting += reversed(below)


def is_empty(folder: Path) -> bool:
    """Whether a folder is missing, or holds no files below it but notes (README, .txt); False if it cannot be looked
    into.
    """
    if not folder.is_dir():
        return True
    unreadable: list[OSError] = []
    files = walk_files(folder, ("",), onerror=unreadable.append)
    return all(path.name.lower().endswith(_PLACEHOLDERS) for path in files) and not unreadable


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that cannot be followed
        return False
