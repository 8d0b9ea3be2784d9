"""Image and mask files of a folder, by id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from semiovs.data.image import IMAGE_SUFFIXES
from semiovs.data.masks import MASK_SUFFIXES
from semiovs.errors import DataError


def image_files(folder: Path, *, recursive: bool = True) -> dict[str, Path]:
    """Id (path in the folder without suffix) -> file, sorted by id.

    Raises:
        DataError: no such folder, no images in it, or two images of one id.
    """
    found = _by_id(folder, IMAGE_SUFFIXES, recursive)
    if not found:
        raise DataError(f"{folder}: no images in this folder ({', '.join(IMAGE_SUFFIXES)})")
    return found


def mask_files(folder: Path, *, recursive: bool = True) -> dict[str, Path]:
    """As `image_files`, for files that can hold masks; an empty folder gives an empty mapping."""
    return _by_id(folder, MASK_SUFFIXES, recursive)


def _by_id(folder: Path, suffixes: tuple[str, ...], recursive: bool) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in _files(folder, recursive):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{path}: has the same name as {found[name].name}; names without suffix must be unique")
        found[name] = path
    return dict(sorted(found.items()))


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    for directory, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith(".")) if recursive else []
        for name in sorted(names):
            yield Path(directory) / name
