"""Candidates for a selection, listed one by one from folders, however large, lists, tars and data sets.

A line or file that cannot be taken is told as `InvalidEntry`; only a folder or list that is not there is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semiovs.errors import DataError, UsageError
from semiovs.images.allowed_folders import AllowedFolders
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.findings import raise_errors
from semiovs.images.folder_walk import PassedBy, walk_files
from semiovs.images.record import Record
from semiovs.images.record_lines import is_valid_id, parse_record, read_lines
from semiovs.images.source import describe_beside_images, examine_source, find_list_root, is_container


@dataclass(frozen=True, slots=True)
class InvalidEntry:
    """An entry of a pool that is not a usable image. where: ``file:line`` or the file; why: the reason."""

    where: str
    why: str


def list_candidates(
    given: Sequence[str | Path],
    *,
    root: Path | str = ".",
    skip: Path | None = None,
    whole: bool = False,
    outside: bool = False,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> Iterator[Record | InvalidEntry]:
    """Images of folders and lists, one after the other; the order and the ids are the same each time.

    With several of them, an id begins with the name of its folder or list (of the folder above, if that is ``images``);
    skip: a folder that is left out, the output of a run. Of a folder with a folder ``images`` that one is read, as
    everywhere: masks lie beside it; whole: all of it. root, outside: see `semiovs.images.source.examine_list`; say:
    told what a pool holds that is not read.

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
    reading = _Reading(Path(root), skip and skip.resolve(), outside, say)
    sources = [_open_source(path if whole else _find_images_folder(path, say), reading) for path in paths]
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


def _find_images_folder(path: Path, say: Callable[[str], None]) -> Path:
    if not (path / "images").is_dir():
        return path
    for line in describe_beside_images(path):
        say(line)
    return path / "images"


@dataclass(frozen=True, slots=True)
class _Reading:
    """How pools are read; see `list_candidates`."""

    root: Path
    skip: Path | None
    outside: bool
    say: Callable[[str], None]


def _open_source(path: Path, how: _Reading) -> Iterator[Record | InvalidEntry]:
    """Images of one folder, image, pattern, list, set of tar files or Hugging Face data set."""
    if is_container(path) or (path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES)):
        images, findings = examine_source(path.name, path.parent)
        raise_errors(findings)
        for finding in findings:
            how.say(finding.text)
        return iter(images)
    if path.is_file():
        return _read_list(path, how.root, outside=how.outside)
    if path.is_dir():
        return _walk_folder(path, how)
    raise DataError(f"{path}: no such folder or list")


def _read_list(path: Path, root: Path, *, outside: bool) -> Iterator[Record | InvalidEntry]:
    """Images of a list, line by line."""
    start = find_list_root(path, root)
    within = None if outside else AllowedFolders([root, path.parent, start])
    for number, line in read_lines(path):
        try:
            if isinstance(line, DataError):
                raise line
            record = parse_record(line, start, number)
            if within is not None:
                within.check(record.image)
            yield record
        except DataError as error:
            yield InvalidEntry(f"{path}:{number}", f"{path}:{number}: {error}")


def _walk_folder(root: Path, how: _Reading) -> Iterator[Record | InvalidEntry]:
    """Images below a folder, as `walk_files` finds them, and the folders that cannot be read.

    The id is the path from the root without suffix, or with it where another image has that name.
    """
    unread: list[OSError] = []
    passed = PassedBy()
    folder, taken = root, set[str]()
    for path in walk_files(root, IMAGE_SUFFIXES, skip=how.skip, onerror=unread.append, passed_by=passed):
        yield from _unread(unread)
        if path.parent != folder:
            folder, taken = path.parent, set()
        yield _make_record(root, path, path.name if path.stem in taken else path.stem)
        taken.add(path.stem)
    yield from _unread(unread)
    for line in passed.describe(root):
        how.say(line)


def _unread(errors: list[OSError]) -> Iterator[InvalidEntry]:
    while errors:
        error = errors.pop(0)
        yield InvalidEntry(ascii(str(error.filename)), f"{error.filename}: {error.strerror}")


def _make_record(root: Path, path: Path, stem: str) -> Record | InvalidEntry:
    identifier = path.relative_to(root).with_name(stem).as_posix()
    try:
        if is_valid_id(identifier):
            return Record(identifier, path)
    except DataError as error:
        return InvalidEntry(ascii(str(path)), f"{str(path)!a}: {error}")
    return InvalidEntry(ascii(str(path)), f"{str(path)!a}: no id can be made of this path")
