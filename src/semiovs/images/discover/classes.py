"""Guess the classes of masks from their values and colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.discover.found_classes import FoundClasses
from semiovs.images.discover.mask_colors import contradicts, name_colors
from semiovs.images.mask_palettes import MaskPalettes
from semiovs.images.mask_values import (
    Key,
    count_values,
    format_key,
    map_binary_values,
    read_mask_values,
    read_stored_mask,
)

#: Largest number of masks that are read.
LOOKED_AT = 500
#: More colours or scattered values than this are probably not classes.
_MANY = 40
_IGNORED = "255 is taken for 'not labelled'; if it is a class, name it in data.masks.map"
_BY_INDEX = "the indices are taken for the classes; if the colours mean them, data.masks.encoding: rgb with a map"


def guess_classes(
    masks: list[Path], *, colors: Mapping[Key, str] | None = None, names: tuple[str, ...] = ()
) -> FoundClasses | None:
    """Guess classes from (at most `LOOKED_AT`) masks; None if none can be read.

    Only 0 and 255: background and foreground; scattered values, or colours: a map; else the values are ids. Palette
    masks are read by their colours where other files give these other indices.

    colors: what colours mean by the class file; names: class names that are known.
    """
    found: Counter[Key] = Counter()
    palettes, declared = MaskPalettes(), set[int]()
    sample = choose_masks(masks)
    for path in sample:
        with suppress(DataError):  # unreadable masks are reported by `data check`
            stored = read_stored_mask(path)
            counts = count_values(stored.values)
            found.update(counts)
            if stored.nodata is not None and (stored.nodata,) in counts:
                declared.add(stored.nodata)
            if (palette := stored.palette) is not None:
                palettes.add({index: tuple(palette[index].tolist()) for (index,) in counts}, path)
    moved = palettes.find_renumbered_colors()
    if moved is not None or any(len(key) == 3 for key in found) or contradicts(palettes, colors or {}, names):
        guess = name_colors(_count_colors(sample), len(masks), own=colors or {}, names=names, moved=moved)
        many = _explain_doubt(len({*(guess.map or {}), *guess.undecided}), "colours") if not guess.named else ""
        by_color = "" if moved is None else f"{moved.text}: the colours are taken for the classes, not the indices"
        return replace(guess, doubt="; ".join(filter(None, (many, by_color, guess.doubt))))
    if not found:
        return None
    guess = _guess_without_no_data({key[0] for key in found}, declared, len(masks))
    changed = palettes.find_recolored_indices()
    by_index = "" if changed is None else f"{changed.text}: {_BY_INDEX}"
    return replace(guess, doubt="; ".join(filter(None, (guess.doubt, by_index))))


def _guess_without_no_data(values: set[int], declared: set[int], masks: int) -> FoundClasses:
    """Guess classes from values, of which negative ones, NaN, and those that files declare as such are no data.

    0 stays a class: many files that declare it mean the background.
    """
    no_data = sorted(value for value in values if value < 0 or value in declared - {0})  # such as -1, -9999
    guess = _guess_from_values(values - set(no_data), masks)
    if 0 in declared:
        told = "files declare 0 as 'no data', and it is taken for a class; if it means 'not labelled': data.masks.map"
        guess = replace(guess, doubt="; ".join(filter(None, (guess.doubt, told))))
    if not no_data:
        return guess
    meant = guess.map or {str(value): name for value, name in enumerate(guess.names)}
    unlabeled = [value for value in (*no_data, IGNORE) if value in values and str(value) not in meant]
    meant |= {format_key((value,)): "ignore" for value in unlabeled}
    shown = ", ".join(format_key((value,)) for value in no_data[:5]) + (", …" if len(no_data) > 5 else "")
    return replace(guess, map=meant, source=f"{guess.source}, and {shown}, taken as no data")


def choose_masks(masks: list[Path]) -> list[Path]:
    """Choose the masks that are looked at."""
    return masks[:: max(1, len(masks) // LOOKED_AT)][:LOOKED_AT]


def _count_colors(masks: list[Path]) -> Counter[Key]:
    counts: Counter[Key] = Counter()
    for path in masks:
        with suppress(DataError):
            counts.update(count_values(read_mask_values(path, colors=True)))
    return counts


def _guess_from_values(values: set[int], masks: int) -> FoundClasses:
    """Guess classes from the values, none negative, that occur in a number of masks."""
    meant = map_binary_values(values, ("background", "foreground"))
    if meant is not None:
        return FoundClasses(("background", "foreground"), meant, "masks hold 0 and 255")
    ids = sorted(values - {IGNORE})
    if ids and (ids[-1] >= IGNORE or ids[-1] + 1 > 4 * len(ids)):
        guess = _map_values(ids, masks)
        return replace(guess, doubt="; ".join(filter(None, (guess.doubt, _IGNORED)))) if IGNORE in values else guess
    last = max(ids[-1] if ids else 0, 1)
    return FoundClasses(
        tuple(f"class_{i}" for i in range(last + 1)), None, f"masks hold the values {_format_range(ids)}"
    )


def _map_values(values: list[int], masks: int) -> FoundClasses:
    """Map scattered values to class names; 0 becomes background."""
    kept = values[:64]
    names = {str(value): f"class_{number}" if value else "background" for number, value in enumerate(kept)}
    ordered = sorted(names.values(), key=lambda name: (name != "background", trailing_number(name)))
    more = f", the first {len(kept)} of {len(values)}" if len(values) > len(kept) else ""
    source = f"{len(values)} values in {masks} masks{more}"
    return FoundClasses(tuple(ordered), names, source, doubt=_explain_doubt(len(values), "values"))


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
