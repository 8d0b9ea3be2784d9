"""Discover the images of a folder: folders by convention, lists, and what nearly looks like them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.discover.bands import guess_bands
from semiovs.images.discover.class_files import ClassFile, find_foreign_class_file, find_own_class_file
from semiovs.images.discover.left_aside import note_left_aside
from semiovs.images.discover.lists import (
    LABELED,
    add_missing_lists,
    find_lists,
    format_line,
    format_place,
    iterate_images,
    lead_elsewhere,
    read_masks,
)
from semiovs.images.discover.near_misses import describe_other_places, find_near_misses
from semiovs.images.discover.roles import Roles, add_told_images, pair_told_folders
from semiovs.images.discover.survey import Survey
from semiovs.images.folder_walk import walk_files

#: Folder that `semiovs init` writes lists to.
LISTS = "lists"


def discover(folder: Path, roles: Roles | None = None) -> Survey:
    """Find out what `folder` holds. roles: folders whose roles are told, in it or elsewhere.

    Raises:
        DataError: no such folder, or neither images nor lists in it; a told folder does not hold what it should.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one with your images")
    found = Survey(folder)
    found.images = _count_files(folder / "images", IMAGE_SUFFIXES)
    found.mask_files = sorted(walk_files(folder / "masks", MASK_SUFFIXES))
    found.masks = len(found.mask_files)
    found.unlabeled = _count_files(folder / "unlabeled", IMAGE_SUFFIXES)
    found.val = _count_files(folder / "val" / "images", IMAGE_SUFFIXES)
    found.ood = _count_files(folder / "ood", IMAGE_SUFFIXES)
    own = find_own_class_file(folder)
    _find_lists(found, roles or Roles(), own)
    _find_classes(found, own)
    _find_bands(found)
    if not (found.images or found.unlabeled or found.flat or found.lists or found.folders):
        raise DataError(
            f"{folder}: no images here; put images into images/, their masks (same names, PNG) into masks/, "
            f"images without masks into unlabeled/{describe_other_places(folder)}"
        )
    told = () if roles is None else (roles.labeled, roles.unlabeled, roles.val, roles.ood)
    found.notes += find_near_misses(found, [place.expanduser() for place in told if place is not None])
    return found


def _count_files(folder: Path, suffixes: Collection[str]) -> int:
    return sum(1 for _ in walk_files(folder, suffixes))


def _find_classes(found: Survey, own: ClassFile | None) -> None:
    beside = [place for mask in found.mask_files[:1] for place in (mask.parent, mask.parent.parent)]
    beside = [place for place in beside if found.told or place.is_relative_to(found.folder)]
    file = own or find_foreign_class_file(found.folder, beside)
    if file is None:
        return
    found.classes, found.colors, found.class_names = file.classes, file.colors, file.names
    if file.note:
        found.notes.append(file.note)
    else:
        found.class_file = format_place(found.folder, file.path)


def _find_lists(found: Survey, roles: Roles, own: ClassFile | None) -> None:
    lists = pair_told_folders(found.folder, roles)
    find_lists(found.folder, lists)
    file = own or find_foreign_class_file(found.folder)
    add_missing_lists(found.folder, lists, () if file is None else file.names)
    add_told_images(found.folder, roles, lists)
    found.told = lists.told
    found.outside = lead_elsewhere(found.folder, lists.made.values())
    if roles.ood is not None:
        found.ood = _count_files(roles.ood.expanduser(), IMAGE_SUFFIXES)
    found.folders = {role: format_place(found.folder, path) for role, path in lists.folders.items()}
    found.lists = {role: path.relative_to(found.folder).as_posix() for role, path in lists.lists.items()}
    found.other_splits = [path.relative_to(found.folder).as_posix() for path in lists.others]
    for role, pairs in lists.made.items():
        name = f"{LISTS}/{role}.jsonl"
        found.lists[role] = name
        found.made[name] = "".join(format_line(found.folder, image, mask) for image, mask in pairs)
    found.notes += lists.notes
    found.notes += note_left_aside(found.folder, lists)
    found.flat = lists.flat
    if found.masks and LABELED not in lists.told:
        return
    if LABELED in lists.made:
        found.mask_files = [mask for _, mask in lists.made[LABELED] if mask is not None]
    elif LABELED in lists.lists:
        found.mask_files = read_masks(found.folder, lists.lists[LABELED])


def _find_bands(found: Survey) -> None:
    image = next(iterate_images(found.folder, found.lists, found.made), None)
    told = None if image is None else guess_bands(image)
    if isinstance(told, str):
        found.notes.append(told)
    else:
        found.bands = told
