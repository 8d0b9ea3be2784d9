"""Lists of images in a folder, by the role that their names tell; and pairs of images and masks where there is no list.

Light: no numpy, no torch.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The same suffixes as in semiovs.data (a test checks it), which imports torch.
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MASKS = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif", ".webp"})

LABELED, UNLABELED, VAL = "labeled", "unlabeled", "val"
#: Role -> words in a list's name, in the order in which roles are looked for; the first word of a role is the best.
_WORDS = {
    UNLABELED: ("unlabeled", "unlabelled"),
    VAL: ("val", "valid", "validation", "eval", "test"),
    LABELED: ("labeled", "labelled", "train", "training", "trainval"),
}
#: Folders that may hold the masks of the images in images/, best first.
MASK_FOLDERS = (
    "masks", "labels", "annotations", "mask", "label", "gt", "segmentation", "SegmentationClass", "annotation",
)  # fmt: skip
#: What may stand after the image's name in its mask's.
_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_L", "-mask", "_labelIds")
#: Where images lie whose folder tells their role.
_PLACES = {
    LABELED: ("images/train", "images/training", "train/images", "training/images", "images"),
    VAL: (
        "images/val",
        "images/validation",
        "val/images",
        "valid/images",
        "validation/images",
        "images/test",
        "test/images",
    ),
}
_LONGEST = 4096


@dataclass
class Found:
    """lists: role -> list file; others: further ones; made: role -> (image, mask or None) of lists that have to be written."""

    lists: dict[str, Path] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)
    made: dict[str, list[tuple[Path, Path | None]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_lists(folder: Path) -> Found:
    """Lists in the folder itself, in lists/ or splits/, and in the first folder of splits/ that has a labelled list."""
    found = Found()
    inner = sorted(
        {path.parent for path in (folder / "splits").glob("*/*") if _role(path) == LABELED and _is_list(path)}
    )
    for place in [*inner[:1], folder, folder / "lists", folder / "splits"]:
        ranked = sorted((_rank(path), path) for path in _files(place) if _role(path) and _is_list(path))
        for _, path in ranked:
            found.lists.setdefault(_role(path) or "", path)
    found.others = inner[1:]
    return found


def lists_to_make(folder: Path, found: Found) -> None:
    """Fill `found.made`: what the folders hold instead of lists, or beside them, other than by convention.

    By convention images/ is labelled by masks/, val/images by val/masks, and unlabeled/ is bare; nothing is written then.
    """
    if LABELED in found.lists:
        _make_rest(folder, found)
        return
    for role in (LABELED, VAL):
        place = next((place for place in _PLACES[role] if _mask_folder(folder, place)), None)
        if role not in found.lists and place is not None:
            _make_pairs(folder, place, role, found)


def _make_rest(folder: Path, found: Found) -> None:
    """Images in images/ that no list of labelled or evaluation images names are bare ones."""
    if UNLABELED in found.lists or not (folder / "images").is_dir() or (folder / "unlabeled").is_dir():
        return
    listed = {folder / image for path in found.lists.values() for image, _ in _rows(path)}
    rest = [path for path in images_of(folder / "images") if path not in listed]
    if rest:
        found.made[UNLABELED] = [(path, None) for path in rest]
        found.notes.append(f"{len(rest)} images of images/ are in none of the lists: they are taken as unlabelled")


def _make_pairs(folder: Path, place: str, role: str, found: Found) -> None:
    masks = _mask_folder(folder, place)
    assert masks is not None
    pairs = _paired(folder / place, masks)
    labeled = [(image, mask) for image, mask in pairs if mask is not None]
    by_convention = (place, masks) in {("images", folder / "masks"), ("val/images", folder / "val/masks")}
    if not labeled or (by_convention and len(labeled) == len(pairs)):
        return
    found.made[role] = [*labeled]
    found.notes.append(f"{len(labeled)} images of {place}/ have masks in {masks.relative_to(folder).as_posix()}/")
    bare = [(image, None) for image, mask in pairs if mask is None]
    if bare and role == LABELED and UNLABELED not in found.lists and not (folder / "unlabeled").is_dir():
        found.made[UNLABELED] = [*bare]
        found.notes.append(f"{len(bare)} images of {place}/ have no mask: they are taken as unlabelled")


def line(folder: Path, image: Path, mask: Path | None) -> str:
    """One line of a JSONL list."""
    row = {"image": image.relative_to(folder).as_posix()}
    if mask is not None:
        row["mask"] = mask.relative_to(folder).as_posix()
    return json.dumps(row, ensure_ascii=False) + "\n"


def images_of(folder: Path) -> list[Path]:
    """All image files below a folder, sorted."""
    return sorted(walk(folder, IMAGES))


def walk(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """All files below a folder with one of the suffixes, hidden ones left out."""
    for directory, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (
            Path(directory) / name
            for name in names
            if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        )


def first_image(folder: Path, lists: Mapping[str, str], made: Mapping[str, str]) -> Path | None:
    """An image that will be trained on: of a list, else of the folders of the convention, else of the folder itself.

    lists: role -> list, relative to the folder; made: those that are not written yet, path -> text.
    """
    for role in (LABELED, UNLABELED):
        if role in lists:
            rows = _parsed(made[lists[role]].splitlines()) if lists[role] in made else _rows(folder / lists[role])
            if (row := next(rows, None)) is not None and (folder / row[0]).is_file():
                return folder / row[0]
    places = (images_of(folder / name) for name in ("images", "unlabeled"))
    beside = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    return next((found[0] for found in (*places, beside) if found), None)


def masks_of_list(folder: Path, path: Path) -> list[Path]:
    """Mask files that a list names."""
    return [
        folder / mask
        for _, mask in _rows(path)
        if mask and Path(mask).suffix.lower() in MASKS and (folder / mask).is_file()
    ]


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else []


def _role(path: Path) -> str | None:
    words = re.findall("[a-z]+", path.stem.lower())
    return next((role for role, names in _WORDS.items() if set(names) & set(words)), None)


def _rank(path: Path) -> tuple[int, int, str]:
    """Plain names before longer ones, the best word of a role first."""
    names = _WORDS[_role(path) or LABELED]
    words = re.findall("[a-z]+", path.stem.lower())
    return len(words), min(names.index(word) for word in words if word in names), path.name


def _is_list(path: Path) -> bool:
    """Whether the first lines name images; those of labelled and evaluation lists, masks too."""
    if path.suffix.lower() not in {".txt", ".jsonl", ".lst"} or path.name in {"classes.txt", "requirements.txt"}:
        return False
    rows = [row for row, _ in zip(_rows(path), range(3), strict=False)]
    return bool(rows) and all(
        Path(i).suffix.lower() in IMAGES and (m is not None or _role(path) == UNLABELED) for i, m in rows
    )


def _rows(path: Path) -> Iterator[tuple[str, str | None]]:
    """(image, mask) of the lines of a list, as far as they are easily read."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    yield from _parsed(lines)


def _parsed(lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    for text in filter(str.strip, lines):
        if len(text) > _LONGEST:
            continue
        if text.startswith("{"):
            try:
                row = json.loads(text)
            except ValueError:
                continue
            if isinstance(row.get("image"), str):
                yield row["image"], row.get("mask")
            continue
        columns = text.split()
        yield columns[0], columns[1] if len(columns) == 2 and columns[1] != "None" else None


def _mask_folder(folder: Path, place: str) -> Path | None:
    """Folder of the masks of the images in `place`: the same path with another word for ``images``."""
    if not (folder / place).is_dir():
        return None
    for name in MASK_FOLDERS:
        masks = folder / "/".join(name if part == "images" else part for part in place.split("/"))
        if any(walk(masks, MASKS)):
            return masks
    return None


def _paired(images: Path, masks: Path) -> list[tuple[Path, Path | None]]:
    """Images with their masks, by name without suffix; masks may end in ``_mask`` and the like."""
    by_name = {path.relative_to(masks).with_suffix("").as_posix(): path for path in walk(masks, MASKS)}
    return [(path, _mask(by_name, path.relative_to(images).with_suffix("").as_posix())) for path in images_of(images)]


def _mask(masks: Mapping[str, Path], name: str) -> Path | None:
    return next((masks[name + ending] for ending in ("", *_ENDINGS) if name + ending in masks), None)
