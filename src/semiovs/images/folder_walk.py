"""Walk through a folder: the rule for which files belong to it, shared by all verbs."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

#: Folders with thumbnails that storage systems and archives add.
_SHADOWS = ("@eaDir", "__MACOSX")
#: Endings of files that do not make a folder a full one: notes, and what file managers add.
_PLACEHOLDERS = (".md", ".txt", ".ini", ".db", "readme")


def walk_files(
    folder: Path,
    suffixes: Collection[str],
    *,
    deep: bool = True,
    skip: Path | None = None,
    onerror: Callable[[OSError], object] | None = None,
) -> Iterator[Path]:
    """Yield the files of a folder whose names end in one of the suffixes (lower case), and, if `deep`, those of all
    folders below.

    Names are sorted; a folder's own files come before those of its subfolders. Hidden files
    and folders are left out. Links to folders are followed, unless they lead back to a folder that is being walked
    through, or to one above it.

    skip: a folder to leave out, with links resolved; onerror: called with the error of folders that cannot be listed.
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
