"""Lists that name images by id only, such as Pascal VOC's ``ImageSets/Segmentation/train.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.discover.pairs import Pair, find_pairs, list_images, pair_by_name

#: Folders in which such lists are searched for.
PLACES = ("splits", "lists", ".", "ImageSets/Segmentation", "ImageSets")
#: Endings of their names.
SUFFIXES = (".txt", ".lst")
#: Lines that are read to recognise such a list.
_LOOKED_AT = 20
_LARGEST = 64 << 20


def index_pairs(folder: Path) -> dict[str, Pair]:
    """Index the images of images/ or JPEGImages/ (with SegmentationClass/) and their masks by path without suffix."""
    pairs: list[Pair]
    images = folder / "images"
    if images.is_dir():
        found = find_pairs(folder, "images")
        pairs = [(image, None) for image in list_images(images)] if found is None else found.pairs
    else:
        images = folder / "JPEGImages"
        pairs = pair_by_name(images, folder / "SegmentationClass") if images.is_dir() else []
    return {image.relative_to(images).with_suffix("").as_posix(): (image, mask) for image, mask in pairs}


def read_pairs(path: Path, known: dict[str, Pair]) -> list[Pair]:
    """Read a list of ids; empty if it is none, or names images that are not there."""
    names = list(islice(_read_ids(path), _LOOKED_AT))
    if not names or any(name not in known for name in names):
        return []
    return [known[name] for name in dict.fromkeys(_read_ids(path)) if name in known]


def _read_ids(path: Path) -> Iterator[str]:
    if path.suffix.lower() not in SUFFIXES or path.stat().st_size > _LARGEST:
        return
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        name = line.strip().replace("\\", "/")
        if name:
            yield name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in IMAGE_SUFFIXES else name
