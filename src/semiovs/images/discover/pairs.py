"""Pair images with masks where there is no list: in two folders, or side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.discover.layouts import (
    is_further_channel,
    is_named_like_a_mask,
    list_mask_folders,
    list_mask_names,
)
from semiovs.images.file_names import normalize_name
from semiovs.images.folder_walk import walk_files

#: An image and its mask, if it has one.
Pair = tuple[Path, Path | None]


@dataclass(frozen=True)
class FoundPairs:
    """Images of a folder and their masks. where: folder of the masks, None where they lie beside the images."""

    pairs: list[Pair]
    where: Path | None = None


def find_pairs(folder: Path, place: str) -> FoundPairs | None:
    """Find images of `place`, a path in `folder`, and their masks; None if no image has one.

    Raises:
        DataError: as `pair_by_name`, or nnU-Net's channels, which are no images of their own.
    """
    images = folder / place
    if not images.is_dir():
        return None
    for name in list_mask_folders(place):
        masks = folder / name
        if any(walk_files(masks, MASK_SUFFIXES)):
            pairs = pair_by_name(images, masks, deep=place != ".")
            if any(mask for _, mask in pairs):
                return FoundPairs(check_channels(images, pairs), masks)
    pairs = pair_side_by_side(images, deep=place != ".", strict=True)
    return FoundPairs(pairs) if any(mask for _, mask in pairs) else None


def pair_by_name(images: Path, masks: Path, *, deep: bool = True) -> list[Pair]:
    """Pair images with masks by name without suffix; names of masks may end in ``_mask`` and the like.

    Files among the images that are named like masks and have none themselves are no images: they are left away.

    Raises:
        DataError: several files may be the mask of an image, or one may be that of several.
    """
    names = MaskNames.of((cut_name(path, masks), path) for path in walk_files(masks, MASK_SUFFIXES))
    files = sorted(walk_files(images, IMAGE_SUFFIXES, deep=deep, skip=masks.resolve()))
    found = {path: names.find(cut_name(path, images), path.suffix, beside=False) for path in files}
    _refuse_unclear(found)
    return [pair for pair in _take_first(found) if not _is_stray(*pair)]


def pair_side_by_side(images: Path, *, deep: bool = True, strict: bool = False) -> list[Pair]:
    """Pair images with mask files in the same folder, named ``<name>_mask`` and the like.

    Files that are named like masks and belong to no image are no images either: they are left away.

    Raises:
        DataError: as `pair_by_name`, if `strict`.
    """
    files = sorted(walk_files(images, {*IMAGE_SUFFIXES, *MASK_SUFFIXES}, deep=deep))
    names = MaskNames.of((_drop_suffix(path), path) for path in files if path.suffix.lower() in MASK_SUFFIXES)
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    found = {path: names.find(_drop_suffix(path), path.suffix, beside=True) for path in pictures}
    masks = {mask for some in found.values() for mask in some}
    found = {image: some for image, some in found.items() if image not in masks}
    if strict:
        _refuse_unclear(found)
    return [pair for pair in _take_first(found) if not _is_stray(*pair)]


@dataclass(frozen=True)
class MaskNames:
    """Mask files by name without suffix: as it is written, and as it looks (`normalize_name`)."""

    written: Mapping[str, list[Path]]
    alike: Mapping[str, list[Path]]

    @classmethod
    def of(cls, files: Iterable[tuple[str, Path]]) -> MaskNames:
        """Index files, each with its name."""
        written: dict[str, list[Path]] = {}
        alike: dict[str, list[Path]] = {}
        for name, path in files:
            written.setdefault(name, []).append(path)
            if not name.isascii():
                alike.setdefault(normalize_name(name), []).append(path)
        return cls(written, alike)

    def find(self, name: str, suffix: str, *, beside: bool) -> list[Path]:
        """Find the files that may be the mask of an image of this name (`list_mask_names`), best first."""
        names = list_mask_names(name, suffix, beside=beside)
        every = (self.written.get(one) or (self.alike and self.alike.get(normalize_name(one))) or () for one in names)
        return list(dict.fromkeys(path for paths in every for path in paths))


def _take_first(found: Mapping[Path, list[Path]]) -> list[Pair]:
    return [(image, masks[0] if masks else None) for image, masks in found.items()]


def _refuse_unclear(found: Mapping[Path, list[Path]]) -> None:
    """Refuse an image with several masks, and a mask of several images."""
    fix = "move one of them away, or name a list of 'image mask' lines in data.labeled"
    owners: dict[Path, Path] = {}
    for image, masks in found.items():
        if len(masks) > 1:
            raise DataError(f"{masks[0]} and {masks[1].name} may both be the mask of {image.name}; {fix}")
        for mask in masks:
            if (other := owners.setdefault(mask, image)) != image:
                raise DataError(f"{mask} may be the mask of both {other.name} and {image.name}; {fix}")


def have_same_names(pairs: list[Pair], images: Path, masks: Path) -> bool:
    """Whether all masks have exactly the names of their images, as the convention asks."""
    return all(
        mask is not None and mask.is_relative_to(masks) and cut_name(image, images) == cut_name(mask, masks)
        for image, mask in pairs
    )


def list_images(folder: Path) -> list[Path]:
    """List all image files below a folder, sorted."""
    return sorted(walk_files(folder, IMAGE_SUFFIXES))


def check_channels(images: Path, pairs: list[Pair]) -> list[Pair]:
    """Refuse nnU-Net's images whose channels are files of their own."""
    names = {image.with_suffix("") for image, mask in pairs if mask is not None and mask.stem == image.stem[:-5]}
    further = [
        image
        for image, mask in pairs
        if mask is None and is_further_channel(image.stem) and image.with_name(f"{image.stem[:-5]}_0000") in names
    ]
    if further:
        raise DataError(
            f"{images}: {len(further)} files are further channels of an image (like {further[0].name}), which are "
            "not put together; write the channels of an image into one TIFF (data.bands)"
        )
    return pairs


def _is_stray(image: Path, mask: Path | None) -> bool:
    """Whether a picture without a mask is itself named like one; JPEG holds no mask, so its name means another
    thing.
    """
    return mask is None and image.suffix.lower() in MASK_SUFFIXES and is_named_like_a_mask(image.stem)


def _drop_suffix(path: Path) -> str:
    return path.with_suffix("").as_posix()


def cut_name(path: Path, folder: Path) -> str:
    """Path without suffix of a file that `walk_files` found in a folder; six times as fast as pathlib."""
    name = path.as_posix()[0 if str(folder) == "." else len(folder.as_posix().rstrip("/")) + 1 :]
    return name[: -len(path.suffix)]
