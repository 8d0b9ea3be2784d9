"""Looking at a folder of images: what is there, and which classes the masks hold. Light: numpy and Pillow, no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from semiovs.errors import DataError

# The same suffixes as in semiovs.data (a test checks it), which imports torch.
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MASKS = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif", ".webp"})
#: Masks that are opened to see which values they hold.
LOOKED_AT = 500
IGNORE = 255

#: Role -> names that a list file may have.
_LISTS = {
    "labeled": ("labeled.txt", "labelled.txt", "train.txt"),
    "unlabeled": ("unlabeled.txt", "unlabelled.txt"),
    "val": ("val.txt", "valid.txt", "validation.txt"),
}
_CLASS_FILES = ("classes.txt", "classes.yaml", "classes.yml")


@dataclass
class Survey:
    """What is in a folder.

    images, masks, unlabeled, val, ood: number of files in the folders of those names; flat: images directly in the folder;
    lists: role -> path of a list, relative to the folder; other_splits: folders with further lists.
    """

    folder: Path
    images: int = 0
    masks: int = 0
    unlabeled: int = 0
    val: int = 0
    ood: int = 0
    flat: int = 0
    lists: dict[str, str] = field(default_factory=dict)
    other_splits: list[str] = field(default_factory=list)
    class_file: str | None = None
    mask_files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def bare(self) -> bool:
        """Whether there are images without masks."""
        return "unlabeled" in self.lists or bool(self.unlabeled or self.flat)

    @property
    def labeled(self) -> bool:
        """Whether there is something to learn from."""
        return "labeled" in self.lists or bool(self.images and self.masks)


@dataclass(frozen=True)
class Classes:
    """Class names guessed from masks. map: value in the file -> name, None where values are ids; source: how it was guessed."""

    names: tuple[str, ...]
    map: dict[str, str] | None = None
    source: str = ""


def survey(folder: Path) -> Survey:
    """Look at `folder`.

    Raises:
        DataError: no such folder, or neither images nor lists in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one with your images")
    found = Survey(folder, flat=sum(1 for p in folder.iterdir() if p.suffix.lower() in IMAGES))
    found.images = _count(folder / "images", IMAGES)
    found.mask_files = sorted(_files(folder / "masks", MASKS))
    found.masks = len(found.mask_files)
    found.unlabeled = _count(folder / "unlabeled", IMAGES)
    found.val = _count(folder / "val" / "images", IMAGES)
    found.ood = _count(folder / "ood", IMAGES)
    found.class_file = next((name for name in _CLASS_FILES if (folder / name).is_file()), None)
    _find_lists(found)
    _look_for_near_misses(found)
    if not (found.images or found.unlabeled or found.flat or found.lists):
        raise DataError(
            f"{folder}: no images here; put images into images/, their masks (same names, PNG) into masks/, "
            "images without masks into unlabeled/"
        )
    if not found.mask_files and "labeled" in found.lists:
        found.mask_files = _masks_of_list(found.folder, found.lists["labeled"])
    return found


def _files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for directory, _, names in os.walk(folder, followlinks=True):
        yield from (Path(directory) / name for name in names if Path(name).suffix.lower() in suffixes)


def _count(folder: Path, suffixes: frozenset[str]) -> int:
    return sum(1 for _ in _files(folder, suffixes))


def _find_lists(found: Survey) -> None:
    """Lists in the folder itself, in lists/ or splits/, and in the first folder of splits/ that has a labelled list."""
    places = [found.folder, found.folder / "lists", found.folder / "splits"]
    inner = sorted(p.parent for name in _LISTS["labeled"][:2] for p in (found.folder / "splits").glob(f"*/{name}"))
    for place in [*inner[:1], *places]:
        for role, names in _LISTS.items():
            path = next((place / name for name in names if (place / name).is_file()), None)
            if path is not None:
                found.lists.setdefault(role, path.relative_to(found.folder).as_posix())
    found.other_splits = [p.relative_to(found.folder).as_posix() for p in inner[1:]]


def _look_for_near_misses(found: Survey) -> None:
    """Folders that are nearly what is looked for."""
    if found.images and not found.masks:
        for name in ("labels", "annotations", "mask", "gt", "segmentation"):
            if _count(found.folder / name, MASKS) and "labeled" not in found.lists:
                found.notes.append(f"{name}/ looks like masks: rename it to masks/ to use it")
    if found.images and not found.labeled:
        for path in sorted(p for p in found.folder.iterdir() if p.suffix.lower() in {".json", ".xml"}):
            images = path.with_name("images")
            found.notes.append(
                f"annotations? semiovs labels import {path} --images {images} --out DIR makes masks of them"
            )
    if found.images and found.masks and found.images != found.masks:
        found.notes.append(f"{found.images} images but {found.masks} masks: an image and its mask have the same name")
    lossy = _count(found.folder / "masks", frozenset({".jpg", ".jpeg"}))
    if lossy:
        found.notes.append(f"masks/ holds {lossy} JPEG files: JPEG changes the values, save masks as PNG")


def _masks_of_list(folder: Path, name: str) -> list[Path]:
    try:
        lines = (folder / name).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    pairs = (line.split() for line in lines)
    masks = (folder / pair[1] for pair in pairs if len(pair) == 2)
    return [path for path in masks if path.suffix.lower() in MASKS and path.is_file()]


def guess_classes(masks: list[Path]) -> Classes | None:
    """Guess classes from (at most `LOOKED_AT`) masks; None if none can be read.

    0 and 255 alone: background and foreground; few far-apart values, or colours: a map; else the values are ids.
    """
    step = max(1, len(masks) // LOOKED_AT)
    values: Counter[int] = Counter()
    colors: Counter[tuple[int, ...]] = Counter()
    for path in masks[::step][:LOOKED_AT]:
        _add_values(path, values, colors)
    if colors:
        for value, count in values.items():
            colors[(value,) * 3] += count
        return _from_keys(sorted(colors, key=lambda c: -colors[c]), "colours", len(masks))
    if not values:
        return None
    ids = sorted(value for value in values if value != IGNORE)
    if ids == [0] and IGNORE in values:
        return Classes(("background", "foreground"), {"0": "background", "255": "foreground"}, "masks hold 0 and 255")
    if ids and (ids[-1] >= IGNORE or ids[-1] + 1 > 4 * len(ids)):
        return _from_keys([(value,) for value in ids], "values", len(masks))
    last = max(ids[-1] if ids else 0, 1)
    return Classes(tuple(f"class_{i}" for i in range(last + 1)), None, f"masks hold the values {_span(ids)}")


def _add_values(path: Path, values: Counter[int], colors: Counter[tuple[int, ...]]) -> None:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            data = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    if data.ndim == 3 and data.shape[2] >= 3:
        rgb = data[..., :3]
        if not (rgb[..., :1] == rgb).all():
            found, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)
            colors.update({tuple(map(int, c)): int(n) for c, n in zip(found, counts, strict=True)})
            return
        data = rgb[..., 0]
    data = data[..., 0] if data.ndim == 3 else data
    found, counts = np.unique(data.astype(np.int64), return_counts=True)
    values.update({int(v): int(n) for v, n in zip(found, counts, strict=True)})


def _from_keys(keys: list[tuple[int, ...]], what: str, masks: int) -> Classes:
    """A map from the commonest `keys` to class names; black (or 0) is called background."""
    kept = keys[:64]
    names: dict[str, str] = {}
    for number, key in enumerate(kept):
        names[",".join(map(str, key))] = "background" if not any(key) else f"class_{number}"
    ordered = sorted(names.values(), key=lambda name: (name != "background", kept_index(name)))
    more = f", the {len(kept)} commonest of {len(keys)}" if len(keys) > len(kept) else ""
    return Classes(tuple(ordered), names, f"{len(keys)} {what} in {masks} masks{more}")


def kept_index(name: str) -> int:
    """Number at the end of ``class_7``; -1 for a word."""
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


def _span(ids: list[int]) -> str:
    return f"{ids[0]} to {ids[-1]}" if len(ids) > 1 else str(ids[0] if ids else IGNORE)
