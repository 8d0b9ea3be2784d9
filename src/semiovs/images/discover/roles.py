"""Folders whose roles a person tells, in the place of what `semiovs init` would find."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import DataError, UsageError
from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.discover.class_masks import refuse_masks_of_classes
from semiovs.images.discover.layouts import list_mask_names
from semiovs.images.discover.lists import LABELED, OOD, UNLABELED, VAL, FoundLists, find_taken
from semiovs.images.discover.pairs import (
    FoundPairs,
    Pair,
    check_channels,
    find_pairs,
    list_images,
    pair_by_name,
    pair_side_by_side,
)
from semiovs.images.folder_walk import walk_files
from semiovs.images.source import is_container


@dataclass(frozen=True)
class Roles:
    """Folders by role, as they were typed; None: look for them.

    Raises:
        UsageError: masks without images.
    """

    labeled: Path | None = None
    masks: Path | None = None
    unlabeled: Path | None = None
    val: Path | None = None
    val_masks: Path | None = None
    ood: Path | None = None

    def __post_init__(self) -> None:
        for masks, images, name in ((self.masks, self.labeled, "labeled"), (self.val_masks, self.val, "val")):
            if masks is not None and images is None:
                option = "--masks" if name == "labeled" else "--val-masks"
                raise UsageError(f"{option} {masks}: masks of which images? name their folder with --{name} DIR")

    @property
    def told(self) -> frozenset[str]:
        """The roles that have a folder."""
        return frozenset(role for role in (LABELED, UNLABELED, VAL, OOD) if getattr(self, role) is not None)


def pair_told_folders(folder: Path, roles: Roles) -> FoundLists:
    """Pair the images to learn and to measure on with their masks, where their folders are told.

    Raises:
        DataError: a folder is missing or empty, or no mask fits an image.
    """
    found = FoundLists(told=roles.told)
    measured: set[Path] = set()
    if roles.val is not None:
        pairs = _pair(folder, "--val", roles.val, roles.val_masks, found.notes)
        found.made[VAL] = [pair for pair in pairs if pair[1] is not None]
        measured = {image for image, _ in pairs}
    if roles.labeled is not None:
        pairs = _pair(folder, "--labeled", roles.labeled, roles.masks, found.notes)
        found.made[LABELED] = [pair for pair in pairs if pair[1] is not None and pair[0] not in measured]
        found.bare = [image for image, mask in pairs if mask is None and image not in measured]
        if not found.made[LABELED]:
            raise DataError(f"--labeled {roles.labeled}: all of its images are those of --val {roles.val}")
    return found


def add_told_images(folder: Path, roles: Roles, found: FoundLists) -> None:
    """Add the images without masks whose folders are told: as a folder, or as a list if some of its files do not
    belong to them.

    Raises:
        DataError: a folder is missing or empty, or all of its images have another role.
    """
    taken = find_taken(folder, found) if roles.ood or roles.unlabeled else set()
    for role, given in ((OOD, roles.ood), (UNLABELED, roles.unlabeled)):
        if given is None:
            continue
        place = _locate(folder, given)
        if place.is_dir() and is_container(place):
            found.folders[role] = place
            continue
        every = _list(f"--{role}", given, place)
        inner = [_locate(folder, path) for path in (roles.masks, roles.val_masks) if path is not None]
        masks = tuple(f"{path}{os.sep}" for path in inner if path != place and path.is_relative_to(place))
        images = [
            image
            for image, _ in pair_side_by_side(place)
            if Path(os.path.normpath(image)) not in taken and not str(image).startswith(masks)
        ]
        if not images:
            raise DataError(f"--{role} {given}: its {len(every)} images are masks, or have another role already")
        if images == list_images(place / "images" if (place / "images").is_dir() else place):
            found.folders[role] = place
        else:
            found.made[role] = [(image, None) for image in images]
            found.notes.append(f"{len(images)} of {len(every)} images of {given}: the others are masks or other images")
        taken |= {Path(os.path.normpath(image)) for image in images}


def _pair(folder: Path, option: str, given: Path, masks: Path | None, notes: list[str]) -> list[Pair]:
    """Pair the images of a told folder with masks of a told folder, or of one that is found beside them."""
    place = _locate(folder, given)
    _list(option, given, place)
    mask_option = "--masks" if option == "--labeled" else f"{option}-masks"
    if masks is None:
        inner = find_pairs(place, "images") if (place / "images").is_dir() else None
        told = inner or find_pairs(place.parent, place.name)
        if told is None:
            raise DataError(f"{option} {given}: no masks beside its images; name their folder with {mask_option} DIR")
    else:
        told = _pair_with(folder, option, given, mask_option, masks)
    number = sum(mask is not None for _, mask in told.pairs)
    where = "beside them" if told.where is None else f"in {masks or told.where}"
    notes.append(f"{number} of {len(told.pairs)} images of {given} have masks {where}")
    return told.pairs


def _pair_with(folder: Path, option: str, given: Path, mask_option: str, masks: Path) -> FoundPairs:
    place, where = _locate(folder, given), _locate(folder, masks)
    if not where.is_dir():
        raise DataError(f"{mask_option} {masks}: no such folder")
    files = len(list(walk_files(where, MASK_SUFFIXES)))
    told = FoundPairs(pair_side_by_side(place)) if place == where else FoundPairs(pair_by_name(place, where), where)
    if not any(mask for _, mask in told.pairs):
        refuse_masks_of_classes(place, where)
        raise DataError(f"{mask_option} {masks}: {_explain_no_pair(told.pairs, where, files, f'{option} {given}')}")
    check_channels(place, told.pairs)
    return told


def _explain_no_pair(pairs: list[Pair], masks: Path, files: int, images: str) -> str:
    if not files:
        lossy = next(walk_files(masks, (".jpg", ".jpeg")), None)
        hint = "" if lossy is None else "; JPEG changes the values of masks, save them as PNG"
        return f"no masks in this folder ({', '.join(MASK_SUFFIXES)}){hint}"
    if not pairs:
        return f"all images of {images} are named like masks"
    image = pairs[0][0]
    names = list(list_mask_names(image.stem, image.suffix, beside=False))[:3]
    expected = ", ".join(f"{name}.png" for name in names)
    return f"none of its {files} files fits an image of {images}: for {image.name} it may be {expected}"


def _list(option: str, given: Path, place: Path) -> list[Path]:
    if not place.is_dir():
        what = (
            "a file, but a folder is expected; lists are named in the YAML file (data.labeled)"
            if place.exists()
            else "no such folder"
        )
        raise DataError(f"{option} {given}: {what}")
    images = list_images(place)
    if not images:
        raise DataError(f"{option} {given}: no images in this folder ({', '.join(IMAGE_SUFFIXES)})")
    return images


def _locate(folder: Path, given: Path) -> Path:
    """A told folder as a path through `folder` if it lies in it, else as an absolute path."""
    for start, place in _spell(folder, given):
        if place.is_relative_to(start):
            return folder / place.relative_to(start)
    return Path(os.path.abspath(given.expanduser()))  # noqa: PTH100 - links in the path are kept


def _spell(folder: Path, given: Path) -> Iterator[tuple[Path, Path]]:
    """Both paths without and with links resolved."""
    given = given.expanduser()
    yield Path(os.path.abspath(folder)), Path(os.path.abspath(given))  # noqa: PTH100
    yield folder.resolve(), given.resolve()
