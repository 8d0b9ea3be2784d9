"""Name the colours of colour masks: by a class file that gives colours, or by the tables of well-known data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.discover.found_classes import NO_CLASS, FoundClasses
from semiovs.images.discover.known_colors import BLACK, ColorTable, list_known_tables
from semiovs.images.image import open_image
from semiovs.images.mask_palettes import MaskPalettes, RenumberedColors
from semiovs.images.mask_values import Key, format_key

#: Colours that are named at most.
_MOST = 64


def may_be_colored(masks: Iterable[Path], *, palettes: int) -> bool:
    """Whether some masks hold colours, or this number of different palettes, by their headers."""
    found: set[bytes] = set()
    for path in masks:
        with suppress(DataError), open_image(path) as image:
            if image.palette is not None:
                found.add(bytes(image.palette.getdata()[1]))
            if image.mode.startswith(("RGB", "CMYK", "YCbCr")) or len(found) >= palettes:
                return True
    return False


def contradicts(palettes: MaskPalettes, own: Mapping[Key, str], names: Sequence[str]) -> bool:
    """Whether the colours of palettes are those of the class file, black aside, but under other indices than its
    classes.

    A palette that shows a colour under several indices tells no classes by its colours.
    """
    used = {pair for each in palettes.files for pair in each}
    told = {color for _, color in used if own.get(color, NO_CLASS) != NO_CLASS}
    known = bool(told) and all(color in own or color == BLACK for _, color in used)
    if not known or any(len({color for _, color in each}) < len(each) for each in palettes.files):
        return False
    return any(names[index : index + 1] != (own[color],) for index, color in used if color in told)


def name_colors(
    counts: Counter[Key],
    masks: int,
    *,
    own: Mapping[Key, str],
    names: tuple[str, ...] = (),
    moved: RenumberedColors | None = None,
) -> FoundClasses:
    """Name the colours of a number of masks; what cannot be told stays undecided, and so does black where no table
    has it.

    counts: colour -> pixels; own: colours of a class file; names: class names, if there are some; moved: what the
    palettes of palette masks tell.
    """
    colors = [color for color, _ in counts.most_common()]
    for table in _list_tables(colors, own, names, moved):
        used = {table.names[color] for color in colors if color in table.names} - {NO_CLASS}
        if not names or used <= {*names}:
            return _take_table(table, names, counts)
    if names:
        return _make(names, {}, counts, f"{len(colors)} colours in {masks} masks", named=True)
    plain = [color for color in colors if color != BLACK][:_MOST]
    guess = {color: f"class_{number}" for number, color in enumerate(plain, 1)}
    more = f", the {_MOST} commonest of {len(colors)}" if len(colors) > _MOST else ""
    return _make((*guess.values(),), guess, counts, f"{len(colors)} colours in {masks} masks{more}", named=False)


def _take_table(table: ColorTable, names: tuple[str, ...], counts: Counter[Key]) -> FoundClasses:
    """Name colours by a table. names: class names, if there are some: no others are taken then."""
    every = names or table.classes or tuple(dict.fromkeys(name for name in table.names.values() if name != NO_CLASS))
    kept = {color: name for color, name in table.names.items() if name in {*every, NO_CLASS}}
    aside = {color: name for color, name in table.aside.items() if color in counts}
    kept |= {color: name if name in every else NO_CLASS for color, name in aside.items()}
    left = [f"{name} ({format_key(color)})" for color, name in aside.items() if name not in every]
    notes = [f"colours of classes that {table.source} does not evaluate are ignored: {', '.join(left)}"] if left else []
    several = [(color, owners) for color, owners in table.unclear.items() if color in counts]
    notes += [f"in {table.source} {format_key(color)} is {' and '.join(owners)}" for color, owners in several]
    source = f"the colours are those of {table.source}" + (f"; {table.remark}" if table.remark else "")
    found = _make(every, kept, counts, source, named=True)
    return replace(found, doubt="; ".join(filter(None, (*notes, found.doubt))))


def _list_tables(
    colors: list[Key], own: Mapping[Key, str], names: tuple[str, ...], moved: RenumberedColors | None
) -> Iterator[ColorTable]:
    """The tables that may be meant, best first."""
    if not own.keys().isdisjoint(colors):
        yield ColorTable("the class file", own)
    by_index = [table] if moved is not None and (table := _name_by_index(moved, names)).names else []
    yield from by_index if names else ()
    yield from (table for table in list_known_tables() if table.knows(colors))
    yield from () if names else by_index


def _name_by_index(moved: RenumberedColors, names: tuple[str, ...]) -> ColorTable:
    """The names of the indices that nearly all palettes give a colour, and no other colour."""
    known = dict(enumerate(names)) if names else {index: f"class_{index}" for index in moved.usual.values()}
    colors = Counter(moved.usual.values())
    ordered = sorted((c for c in moved.sure if colors[moved.usual[c]] == 1), key=lambda color: moved.usual[color])
    meant = {color: (known | {IGNORE: NO_CLASS}).get(moved.usual[color]) for color in ordered}
    return ColorTable("the usual indices in the palettes", {color: name for color, name in meant.items() if name})


def _make(
    names: tuple[str, ...], meant: Mapping[Key, str], counts: Counter[Key], source: str, *, named: bool
) -> FoundClasses:
    left = {format_key(color): pixels for color, pixels in counts.most_common() if color not in meant}
    doubt = ""
    if left:
        shown = ", ".join(f"{color} ({pixels:,} pixels)" for color, pixels in list(left.items())[:5])
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        doubt = f"colours of masks whose meaning you have to say, in data.masks.map: {shown}{more}"
    return FoundClasses(
        names,
        {format_key(color): name for color, name in meant.items()},
        source,
        named=named,
        doubt=doubt,
        colored=True,
        undecided=left,
    )


def explain_undecided(color: str) -> str:
    """Say what a person has to decide about a colour."""
    if color == format_key(BLACK):
        return "black: ignore, if it means 'not labelled'; if it is a class, its name, as background"
    return "the name of its class, or ignore"
