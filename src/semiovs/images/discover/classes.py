"""Find the classes of masks: guess them from values and colours, or read them from a class file."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.mask_values import Key, count_values, format_key, map_binary_values, read_mask_values

#: Largest number of masks that are read.
LOOKED_AT = 500
#: More colours or scattered values than this are probably not classes.
_MANY = 40

CLASS_FILES = ("classes.txt", "classes.yaml", "classes.yml")
#: Where Roboflow writes the names to.
ROBOFLOW_CLASSES = ("_classes.csv", "train/_classes.csv")
#: Names in a class file that mean 'not labelled'.
_VOID = frozenset({"unlabeled", "unlabelled", "void", "ignore", "ignored", "unknown", "don't care", "dontcare"})


@dataclass(frozen=True)
class FoundClasses:
    """Class names guessed from masks, or given.

    map: value in the file -> class name, None where values are ids; source: how they were found; named: whether a
    person named them; doubt: why they may not be classes at all.
    """

    names: tuple[str, ...]
    map: dict[str, str] | None = None
    source: str = ""
    named: bool = False
    doubt: str = ""


def read_numbered_classes(path: Path) -> FoundClasses | None:
    """Read a YAML file that numbers its classes with gaps (``classes: {1: person, 7: car}``), as a map; None for any
    other file.

    A file whose ids have no gaps is a vocabulary and needs no map.
    """
    import yaml

    from semiovs.config.yaml_reader import MAX_CHARACTERS

    try:
        text = path.read_text("utf-8-sig")
        data = yaml.safe_load(text) if len(text) <= MAX_CHARACTERS else None
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
    return FoundClasses(kept, {str(key): name for key, name in names.items()}, path.name, named=True)


def guess_classes(masks: list[Path]) -> FoundClasses | None:
    """Guess classes from (at most `LOOKED_AT`) masks; None if none can be read.

    Only 0 and 255: background and foreground; scattered values, or colours: a map; else the values are ids.
    """
    step = max(1, len(masks) // LOOKED_AT)
    found: Counter[Key] = Counter()
    for path in masks[::step][:LOOKED_AT]:
        with suppress(DataError):  # unreadable masks are reported by `data check`
            found.update(count_values(read_mask_values(path)))
    if any(len(key) == 3 for key in found):
        colors: Counter[Key] = Counter()
        for key, count in found.items():
            colors[key if len(key) == 3 else key * 3] += count
        return _map_keys([color for color, _ in colors.most_common()], "colours", len(masks))
    if not found:
        return None
    values = {key[0] for key in found}
    no_data = sorted(value for value in values if value < 0)  # such as -1, -9999 and NaN of maps
    guess = _guess_from_values(values - set(no_data), len(masks))
    if not no_data:
        return guess
    meant = guess.map or {str(value): name for value, name in enumerate(guess.names)}
    meant |= {format_key((value,)): "ignore" for value in (*no_data, *({IGNORE} & values))}
    return replace(guess, map=meant, source=f"{guess.source}, and negative ones or NaN, taken as no data")


def _guess_from_values(values: set[int], masks: int) -> FoundClasses:
    """Guess classes from the values, none negative, that occur in a number of masks."""
    meant = map_binary_values(values, ("background", "foreground"))
    if meant is not None:
        return FoundClasses(("background", "foreground"), meant, "masks hold 0 and 255")
    ids = sorted(values - {IGNORE})
    if ids and (ids[-1] >= IGNORE or ids[-1] + 1 > 4 * len(ids)):
        return _map_keys([(value,) for value in ids], "values", masks)
    last = max(ids[-1] if ids else 0, 1)
    return FoundClasses(
        tuple(f"class_{i}" for i in range(last + 1)), None, f"masks hold the values {_format_range(ids)}"
    )


def _map_keys(keys: list[tuple[int, ...]], what: str, masks: int) -> FoundClasses:
    """Map the commonest `keys` to class names; black (or 0) becomes background."""
    kept = keys[:64]
    names: dict[str, str] = {}
    for number, key in enumerate(kept):
        names[",".join(map(str, key))] = "background" if not any(key) else f"class_{number}"
    ordered = sorted(names.values(), key=lambda name: (name != "background", trailing_number(name)))
    more = f", the {len(kept)} commonest of {len(keys)}" if len(keys) > len(kept) else ""
    return FoundClasses(
        tuple(ordered), names, f"{len(keys)} {what} in {masks} masks{more}", doubt=_explain_doubt(len(keys), what)
    )


def _explain_doubt(number: int, what: str) -> str:
    """Explain why so many values or colours are probably not classes; empty if there are few."""
    if number <= _MANY:
        return ""
    return (
        f"masks hold {number} {what}, too many for classes: were they resized with smoothing, saved as JPEG, or are "
        f"they pictures? "
        "a mask holds exact values"
    )


def trailing_number(name: str) -> int:
    """Number at the end of ``class_7``; -1 for a word."""
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


def _format_range(ids: list[int]) -> str:
    return f"{ids[0]} to {ids[-1]}" if len(ids) > 1 else str(ids[0] if ids else IGNORE)
