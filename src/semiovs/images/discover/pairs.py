"""Pair images with masks where there is no list: in two folders, or side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.folder_walk import walk_files

#: Folders that may hold the masks of the images in images/, best first.
MASK_FOLDERS = (
    "masks", "labels", "annotations", "mask", "label", "gt", "segmentation", "SegmentationClass", "annotation",
)  # fmt: skip
#: Endings that a mask's name may have after the image's name.
_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_L", "-mask", "_labelIds")
#: An image and its mask, if it has one.
Pair = tuple[Path, Path | None]


def find_pairs(folder: Path, place: str) -> tuple[list[Pair], str] | None:
    """Find images of `place`, a path in `folder`, and their masks, and the place of the masks; None if there are
    none.
    """
    images = folder / place
    if not images.is_dir():
        return None
    masks = _find_mask_folder(folder, place)
    if masks is not None:
        return pair_by_name(images, masks), f"{masks.relative_to(folder).as_posix()}/"
    found = pair_side_by_side(images, deep=place != ".")
    return (found, "beside them") if any(mask for _, mask in found) else None


def pair_side_by_side(images: Path, *, deep: bool = True) -> list[Pair]:
    """Pair images with mask files in the same folder, named ``<name>_mask`` and the like."""
    files = sorted(walk_files(images, {*IMAGE_SUFFIXES, *MASK_SUFFIXES}, deep=deep))
    by_name = {path.with_suffix("").as_posix(): path for path in files if path.suffix.lower() in MASK_SUFFIXES}
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    pairs = {path: _find_mask(by_name, path.with_suffix("").as_posix(), _ENDINGS) for path in pictures}
    masks = set(pairs.values())
    return [(image, mask) for image, mask in pairs.items() if image not in masks]


def have_same_names(pairs: list[Pair], images: Path, masks: Path) -> bool:
    """Whether all masks have exactly the names of their images, as the convention asks."""
    return all(
        mask is not None
        and mask.is_relative_to(masks)
        and _name_in_folder(image, images) == _name_in_folder(mask, masks)
        for image, mask in pairs
    )


def list_images(folder: Path) -> list[Path]:
    """List all image files below a folder, sorted."""
    return sorted(walk_files(folder, IMAGE_SUFFIXES))


def _find_mask_folder(folder: Path, place: str) -> Path | None:
    """Find the folder of masks of the images in `place`: ``images`` replaced by a word for masks, or that word
    appended.
    """
    parts = place.split("/")
    for name in MASK_FOLDERS:
        other = (
            "/".join(name if part == "images" else part for part in parts) if "images" in parts else f"{place}_{name}"
        )
        if any(walk_files(folder / other, MASK_SUFFIXES)):
            return folder / other
    return None


def pair_by_name(images: Path, masks: Path) -> list[Pair]:
    """Pair images with masks by name without suffix; names of masks may end in ``_mask`` and the like."""
    by_name = {_normalize_unicode(_name_in_folder(path, masks)): path for path in walk_files(masks, MASK_SUFFIXES)}
    return [
        (path, _find_mask(by_name, _normalize_unicode(_name_in_folder(path, images)))) for path in list_images(images)
    ]


def _find_mask(masks: Mapping[str, Path], name: str, endings: tuple[str, ...] = ("", *_ENDINGS)) -> Path | None:
    return next((masks[name + ending] for ending in endings if name + ending in masks), None)


def _name_in_folder(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _normalize_unicode(name: str) -> str:
    """Normalise a name to Unicode NFC; some systems store accents separately."""
    return unicodedata.normalize("NFC", name)
