"""Which classes masks hold: guessed from their values and colours, or read from a class file. Light: numpy and Pillow, no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

#: Masks that are opened to see which values they hold.
LOOKED_AT = 500
IGNORE = 255
#: More values far apart, or colours, than this are hardly classes.
_MANY = 40

CLASS_FILES = ("classes.txt", "classes.yaml", "classes.yml")
#: Names in a class file that mean: not labelled.
_VOID = frozenset({"unlabeled", "unlabelled", "void", "ignore", "ignored", "unknown", "don't care", "dontcare"})


@dataclass(frozen=True)
class Classes:
    """Class names guessed from masks, or given.

    map: value in the file -> class name, None where values are ids; source: how they were found; named: by a person; doubt: why
    they may be no classes at all.
    """

    names: tuple[str, ...]
    map: dict[str, str] | None = None
    source: str = ""
    named: bool = False
    doubt: str = ""


def numbered_classes(path: Path) -> Classes | None:
    """Classes of a YAML file that numbers them with gaps (``classes: {1: person, 7: car}``), as a map; None for any other file.

    Ids without gaps are a vocabulary as it stands.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return None
    rows = (data.get("classes") or data.get("names")) if isinstance(data, dict) else None
    if not isinstance(rows, dict) or not all(isinstance(k, int) and isinstance(v, str) for k, v in rows.items()):
        return None
    if sorted(rows) == list(range(len(rows))):
        return None
    rows = {key: rows[key].strip() for key in sorted(rows) if 0 <= key < 65536}
    names = {key: "ignore" if name.lower() in _VOID else name for key, name in rows.items()}
    kept = tuple(dict.fromkeys(name for name in names.values() if name != "ignore"))
    return Classes(kept, {str(key): name for key, name in names.items()}, path.name, named=True)


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
    return Classes(tuple(ordered), names, f"{len(keys)} {what} in {masks} masks{more}", doubt=_doubt(len(keys), what))


def _doubt(number: int, what: str) -> str:
    """Values far apart, or colours, are named by people: there are few of them."""
    if number <= _MANY:
        return ""
    return (
        f"masks hold {number} {what}, too many for classes: were they resized with smoothing, saved as JPEG, or are they pictures? "
        "a mask holds exact values"
    )


def kept_index(name: str) -> int:
    """Number at the end of ``class_7``; -1 for a word."""
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


def _span(ids: list[int]) -> str:
    return f"{ids[0]} to {ids[-1]}" if len(ids) > 1 else str(ids[0] if ids else IGNORE)
