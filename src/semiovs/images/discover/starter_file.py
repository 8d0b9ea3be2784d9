"""Look at a folder of images, and write the starter configuration with its lists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import DataError
from semiovs.files import write_text
from semiovs.gpu_memory import find_gpu_memory
from semiovs.images.discover.discover import discover
from semiovs.images.discover.found_classes import FoundClasses
from semiovs.images.discover.recipe import Recipe, choose_recipe
from semiovs.images.discover.roles import Roles
from semiovs.images.discover.sizes import Sizes, choose_sizes
from semiovs.images.discover.starter import choose_classes, format_starter
from semiovs.images.discover.survey import Survey


@dataclass(frozen=True)
class WrittenStarter:
    """What was found and chosen. lists: the files that were written beside the YAML file."""

    found: Survey
    recipe: Recipe
    sizes: Sizes
    classes: str | FoundClasses
    lists: tuple[Path, ...]


def write_starter(folder: Path, path: Path, roles: Roles | None = None, classes: str | None = None) -> WrittenStarter:
    """Write the YAML file `path` for the images of `folder`; classes: names, as they were typed.

    Raises:
        DataError: no such folder, nothing usable in it, or no place to write.
    """
    found = discover(folder, roles or Roles())
    memory = find_gpu_memory()
    recipe = choose_recipe(found, memory)
    sizes = choose_sizes(found, memory, recipe)
    made = _lists_beside(found, path)
    chosen = choose_classes(found, classes)
    text = format_starter(found, chosen, recipe, sizes, root=_relative_folder(folder, path.parent))
    _write({**made, path: text})
    return WrittenStarter(found, recipe, sizes, chosen, tuple(made))


def _write(files: Mapping[Path, str]) -> None:
    """Write the lists, and the YAML file last."""
    try:
        for file, text in files.items():
            write_text(file, text)
    except PermissionError as error:
        place = [*files][-1].parent
        raise DataError(f"{place}: cannot be written into: {error.strerror}; --out FILE writes elsewhere") from None


def _lists_beside(found: Survey, path: Path) -> dict[Path, str]:
    """File -> text of the lists to write, in the folder of the YAML file, which need not be that of the images."""
    _drop_unwritable_names(found)
    if path.parent.resolve() != found.folder.resolve():
        for role, name in found.lists.items():
            if name in found.made:
                found.lists[role] = (path.parent.resolve() / name).as_posix()
    return {path.parent / name: lines for name, lines in found.made.items()}


def _drop_unwritable_names(found: Survey) -> None:
    """Leave images whose names no list can hold out of the lists to write, with a note."""
    for role, name in list(found.lists.items()):
        lines = found.made.get(name, "").splitlines(keepends=True)
        kept = [line for line in lines if _is_utf8(line)]
        if len(kept) < len(lines):
            found.notes.append(f"{len(lines) - len(kept)} images are left out of {name}: their names are no UTF-8 text")
            found.made[name] = "".join(kept)
            if not kept:
                del found.made[name], found.lists[role]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _relative_folder(folder: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(folder.resolve(), start.resolve())).as_posix()
    except ValueError:  # another drive
        return folder.resolve().as_posix()
