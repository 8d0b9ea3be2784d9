"""Recognise images that have several masks, one a class: ``masks/road/a.png``, ``masks/a/0.png``, ``a_road.png``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.discover.layouts import list_mask_folders
from semiovs.images.discover.pairs import cut_name
from semiovs.images.folder_walk import walk_files

_SEPARATORS = "/_-. "


def refuse_class_masks(folder: Path, place: str, names: Collection[str] = ()) -> None:
    """Refuse masks of single classes for the images of `place`, a path in `folder`, which have no masks otherwise.

    names: class names, by which such masks are recognised beside the images.

    Raises:
        DataError: images have several masks, in folders or by endings of their names.
    """
    images = folder / place
    if not images.is_dir():
        return
    deep = place != "."
    for name in list_mask_folders(place):
        if (folder / name).is_dir():
            refuse_masks_of_classes(images, folder / name, deep=deep)
    if names:
        _refuse(images, images, _find_beside(images, names, deep=deep))


def refuse_masks_of_classes(images: Path, masks: Path, *, deep: bool = True) -> None:
    """As `refuse_class_masks`, for one folder of images and one of masks."""
    known = {cut_name(path, images) for path in walk_files(images, IMAGE_SUFFIXES, deep=deep, skip=masks.resolve())}
    _refuse(images, masks, _find_in_folder(known, masks))


def _find_in_folder(known: Collection[str], masks: Path) -> Iterator[tuple[str, Path]]:
    """Yield image and mask: the image's name follows a folder, or comes before an ending."""
    for path in walk_files(masks, MASK_SUFFIXES):
        name = cut_name(path, masks)
        inner = name.partition("/")[2]
        image = inner if inner in known else next((start for start in _list_starts(name) if start in known), None)
        if image is not None:
            yield image, path


def _find_beside(images: Path, names: Collection[str], *, deep: bool) -> Iterator[tuple[str, Path]]:
    """Yield image and mask: the mask's name is the image's with the name of a class."""
    known = {cut_name(path, images) for path in walk_files(images, IMAGE_SUFFIXES, deep=deep)}
    for path in walk_files(images, MASK_SUFFIXES, deep=deep):
        name = cut_name(path, images)
        image = next((s for s in _list_starts(name) if name[len(s) + 1 :] in names and s in known), None)
        if image is not None:
            yield image, path


def _list_starts(name: str) -> Iterator[str]:
    """Yield what stands before each separator, the longest first."""
    for at in range(len(name) - 1, 0, -1):
        if name[at] in _SEPARATORS:
            yield name[:at]


def _refuse(images: Path, masks: Path, pairs: Iterator[tuple[str, Path]]) -> None:
    found: dict[str, list[Path]] = defaultdict(list)
    for image, path in pairs:
        found[image].append(path)
    several = [paths for paths in found.values() if len(paths) > 1]
    if several:
        shown = " and ".join(path.relative_to(masks).as_posix() for path in several[0][:2])
        raise DataError(
            f"{masks}: {len(several)} images of {images} have several masks each, like {shown}, but one mask an image "
            "is read; put them together: 'One mask a class' in docs/your-data.md has the lines"
        )
