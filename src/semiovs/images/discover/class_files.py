"""Find the file with the class names of a folder, its own or that of another program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiovs.errors import ConfigError
from semiovs.images.discover.found_classes import NO_CLASS, VOID, FoundClasses
from semiovs.images.mask_values import Key
from semiovs.vocab.vocabulary import Vocabulary

CLASS_FILES = ("classes.txt", "classes.yaml", "classes.yml")
#: Where Roboflow writes the names to.
ROBOFLOW_CLASSES = ("_classes.csv", "train/_classes.csv")
#: Files of other programs that are taken if they give each class a colour.
COLOR_FILES = ("labelmap.txt", "label_colors.txt", "class_dict.csv", "classes.csv")
#: nnU-Net's file, and keys of which it has one.
NNUNET_CLASSES = "dataset.json"
_NNUNET_KEYS = frozenset({"channel_names", "modality", "numTraining", "file_ending"})
_LARGEST = 4 << 20
_LARGEST_ID = 10**15
#: Python does not turn thousands of digits into a number.
_MOST_DIGITS = 100


@dataclass(frozen=True)
class ClassFile:
    """A file with class names. path: it, from the folder; names: without those that mean 'not labelled'; colors: what
    its colours mean; classes: its classes where it is no vocabulary by itself; note: what a person should know.
    """

    path: Path
    names: tuple[str, ...] = ()
    colors: Mapping[Key, str] = field(default_factory=dict)
    classes: FoundClasses | None = None
    note: str = ""


def find_own_class_file(folder: Path) -> ClassFile | None:
    """Find the class file that a folder has for semiovs, or that Roboflow wrote for it."""
    for name in (*CLASS_FILES, *ROBOFLOW_CLASSES):
        path = folder / name
        if path.is_file():
            classes = read_numbered_classes(path) if path.suffix in {".yaml", ".yml"} else None
            gaps = f"{name} numbers its classes with gaps: they were put in order, with a map from the values in masks"
            return ClassFile(path, classes=classes, note=gaps) if classes else _read_names(path)
    return None


def find_foreign_class_file(folder: Path, beside: Iterable[Path] = ()) -> ClassFile | None:
    """Find the class file of another program. beside: further folders in which it may lie."""
    for path in dict.fromkeys(place / name for place in (folder, *beside) for name in COLOR_FILES):
        if path.is_file() and (found := _read_names(path)).colors:
            return found
    nnunet = next((path for place in (folder, *beside) if (path := place / NNUNET_CLASSES).is_file()), None)
    return None if nnunet is None else _read_nnunet(nnunet)


def read_numbered_classes(path: Path) -> FoundClasses | None:
    """Read a YAML file that numbers its classes with gaps (``classes: {1: person, 7: car}``), as a map; None for any
    other file.

    A file whose ids have no gaps is a vocabulary and needs no map.
    """
    from semiovs.config.yaml_reader import read_yaml

    try:
        data = read_yaml(path)
    except ConfigError:  # said where it is loaded as a vocabulary
        return None
    named = (data.get("classes") or data.get("names")) if isinstance(data, dict) else None
    if not isinstance(named, dict) or not all(_is_id(k) and isinstance(v, str) for k, v in named.items()):
        return None
    rows = {int(key): name for key, name in named.items()}
    return None if sorted(rows) == list(range(len(rows))) else _order_classes(rows, path.name)


def _is_id(key: str) -> bool:
    digits = key.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < _MOST_DIGITS


def _order_classes(rows: Mapping[int, str], source: str) -> FoundClasses:
    """Put numbered classes in order, with a map from the values in masks."""
    rows = {key: rows[key].strip() for key in sorted(rows) if abs(key) < _LARGEST_ID}
    names = {key: NO_CLASS if name.lower() in VOID else name for key, name in rows.items()}
    kept = tuple(dict.fromkeys(name for name in names.values() if name != NO_CLASS))
    return FoundClasses(kept, {str(key): name for key, name in names.items()}, source, named=True)


def _read_names(path: Path) -> ClassFile:
    """Read names and colours of a vocabulary; what is wrong with it is said where it is loaded."""
    try:
        found = Vocabulary.load(path)
    except ConfigError:
        return ClassFile(path)
    pairs = zip(found.colors, found.names, strict=False)
    colors: dict[Key, str] = {color: NO_CLASS if name.lower() in VOID else name for color, name in pairs}
    kept = tuple(name for name in found.names if not (colors and name.lower() in VOID))
    return ClassFile(path, kept, colors)


def _read_nnunet(path: Path) -> ClassFile | None:
    """Read nnU-Net's ``labels``: ``{"background": 0}``, or of older versions ``{"0": "background"}``."""
    try:
        data: Any = json.loads(path.read_text("utf-8-sig")) if path.stat().st_size <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    labels = data.get("labels") if isinstance(data, dict) and _NNUNET_KEYS & data.keys() else None
    if not isinstance(labels, dict):
        return None
    rows: dict[int, str] = {}
    for key, value in labels.items():
        if isinstance(value, int):
            rows[value] = key
        elif isinstance(value, str) and key.isascii() and key.isdigit():
            rows[int(key)] = value
        else:
            text = f"{path.name}: labels are regions of several ids: name each id with --classes or data.masks.map"
            return ClassFile(path, note=text)
    found = _order_classes(rows, path.name)
    if not found.names:
        return None
    note = f"class names are those of nnU-Net's {path.name}"
    whole = NO_CLASS not in (found.map or {}).values() and sorted(rows) == list(range(len(rows)))
    plain = FoundClasses(found.names, None, found.source, named=True)
    return ClassFile(path, classes=plain if whole else found, note=note)
