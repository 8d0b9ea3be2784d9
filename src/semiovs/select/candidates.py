"""Read pools of candidate images from folders and lists, one by one. Bad entries are reported and never fatal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semiovs.errors import DataError, UsageError
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.record import Record
from semiovs.images.record_lines import is_id, lines_of, record_of
from semiovs.images.source import names_container, read_source


@dataclass(frozen=True, slots=True)
class InvalidEntry:
    """An entry of a pool that is not a usable image. where: ``file:line`` or the file; why: the reason."""

    where: str
    why: str


def read_pool(
    given: Sequence[str | Path], *, skip: Path | None = None, whole: bool = False
) -> Iterator[Record | InvalidEntry]:
    """Yield the images of folders and lists, one after the other; order and ids are reproducible.

    With several of them, an id begins with the name of its folder or list (of the folder above, if that is ``images``);
    skip: a folder that is left out, the output of a run. Of a folder with a folder ``images`` that one is read, as
    everywhere: masks lie beside it; whole: all of it.

    Raises:
        DataError: a folder or list is not there; UsageError: none is given, or two have one name.
    """
    paths = [Path(path).expanduser() for path in given]
    if not paths:
        raise UsageError("nothing to choose from: give --from FOLDER or --from LIST")
    names = [_name_pool(path) for path in paths]
    if len(set(names)) < len(names):
        raise UsageError(
            f"--from: two of {', '.join(names)} have one name, which their images' ids would begin with; "
            "rename one, or give a link to it that has another name"
        )
    sources = [_open_source(path if whole else _find_images_folder(path), skip and skip.resolve()) for path in paths]
    for name, images in zip(names, sources, strict=True):
        for image in images:
            named = len(paths) > 1 and isinstance(image, Record)
            yield replace(image, id=f"{name}/{image.id}") if named and isinstance(image, Record) else image


def _name_pool(path: Path) -> str:
    """Prefix for the ids of one of several pools."""
    if path.is_file():
        return path.stem
    parts = Path(os.path.abspath(path)).parts  # noqa: PTH100 (links keep their names)
    return parts[-2] if parts[-1] == "images" and len(parts) > 2 else parts[-1]


def _find_images_folder(path: Path) -> Path:
    return path / "images" if (path / "images").is_dir() else path


def _open_source(path: Path, skip: Path | None) -> Iterator[Record | InvalidEntry]:
    """Images of one folder, list, set of tar files or Hugging Face data set."""
    if names_container(path):
        return iter(read_source(path.name, path.parent))
    if path.is_file():
        return _read_list(path)
    if path.is_dir():
        return _walk_folder(path, skip)
    raise DataError(f"{path}: no such folder or list")


def _read_list(path: Path) -> Iterator[Record | InvalidEntry]:
    """Images of a list; relative paths start from the folder it is in."""
    for number, line in lines_of(path):
        try:
            if isinstance(line, DataError):
                raise line
            yield record_of(line, path.parent, number)
        except DataError as error:
            yield InvalidEntry(f"{path}:{number}", f"{path}:{number}: {error}")


def _walk_folder(root: Path, skip: Path | None) -> Iterator[Record | InvalidEntry]:
    """Images below a folder, folder by folder and sorted; links to folders are followed, but not in circles.

    The id is the path from the root without suffix, or with it where another image has that name.
    """
    waiting = [(root, frozenset({root.resolve()}))]
    while waiting:
        folder, above = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted((e.name, e.is_dir(), e.is_symlink()) for e in entries if not e.name.startswith("."))
        except OSError as error:
            yield InvalidEntry(ascii(str(folder)), f"{folder}: {error.strerror}")
            continue
        taken: set[str] = set()
        inner = []
        for name, is_folder, is_link in found:
            path = folder / name
            if is_folder:
                below = above | {path.resolve()} if is_link else above
                if (not is_link or len(below) > len(above)) and path.resolve() != skip:
                    inner.append((path, below))
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                yield _make_record(root, path, name if path.stem in taken else path.stem)
                taken.add(path.stem)
        waiting += reversed(inner)


def _make_record(root: Path, path: Path, stem: str) -> Record | InvalidEntry:
    identifier = path.relative_to(root).with_name(stem).as_posix()
    try:
        if is_id(identifier):
            return Record(identifier, path)
    except DataError as error:
        return InvalidEntry(ascii(str(path)), f"{str(path)!a}: {error}")
    return InvalidEntry(ascii(str(path)), f"{str(path)!a}: no id can be made of this path")
