"""Name the colours of colour masks: by a class file that gives colours, or by the tables of well-known data sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.discover.found_classes import NO_CLASS, FoundClasses
from semiovs.images.image import open_image
from semiovs.images.mask_palettes import MaskPalettes, RenumberedColors
from semiovs.images.mask_values import Key, format_key
from semiovs.vocab.colors import voc_color
from semiovs.vocab.vocabulary import Vocabulary

BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
#: Colours, black and white aside, by which a table is recognised; share of the colours that it has to know.
_FEWEST, _SHARE = 3, 0.75
#: Colours that are named at most.
_MOST = 64


@dataclass(frozen=True)
class ColorTable:
    """Colours of a well-known data set, or of a class file. complete: whether it has all colours of such masks."""

    source: str
    names: Mapping[Key, str]
    complete: bool = True

    def knows(self, colors: Sequence[Key]) -> bool:
        """Whether masks with these colours are probably painted by the table."""
        known = [color for color in colors if color in self.names]
        plain = {*known} - {BLACK, _WHITE}
        wanted = len(colors) if self.complete else _SHARE * len(colors)
        return len(plain) >= _FEWEST and len(known) >= wanted


def list_known_tables() -> Iterator[ColorTable]:
    """The tables of Pascal VOC and Cityscapes."""
    voc: dict[Key, str] = {voc_color(index): name for index, name in enumerate(Vocabulary.load("voc21").names)}
    voc[voc_color(IGNORE)] = NO_CLASS
    yield ColorTable("Pascal VOC", voc)
    city = Vocabulary.load("cityscapes19")
    names: dict[Key, str] = {BLACK: NO_CLASS, **dict(zip(city.colors, city.names, strict=True))}
    yield ColorTable("Cityscapes", names, complete=False)  # classes that are not evaluated have further colours


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
    """Whether the colours of palettes are those of the class file, but under other indices than its classes."""
    used = {pair for each in palettes.files for pair in each}
    known = bool(used) and all(color in own for _, color in used)
    return known and any(names[index : index + 1] != (own[color],) for index, color in used if own[color] != NO_CLASS)


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
        if names and not used <= {*names}:
            continue
        kept = {c: name for c, name in table.names.items() if not names or name in {*names, NO_CLASS}}
        every = names or tuple(dict.fromkeys(name for name in kept.values() if name != NO_CLASS))
        return _make(every, kept, counts, f"the colours are those of {table.source}", named=True)
    if names:
        return _make(names, {}, counts, f"{len(colors)} colours in {masks} masks", named=True)
    plain = [color for color in colors if color != BLACK][:_MOST]
    guess = {color: f"class_{number}" for number, color in enumerate(plain, 1)}
    more = f", the {_MOST} commonest of {len(colors)}" if len(colors) > _MOST else ""
    return _make((*guess.values(),), guess, counts, f"{len(colors)} colours in {masks} masks{more}", named=False)


def _list_tables(
    colors: list[Key], own: Mapping[Key, str], names: tuple[str, ...], moved: RenumberedColors | None
) -> Iterator[ColorTable]:
    """The tables that may be meant, best first."""
    if not own.keys().isdisjoint(colors):
        yield ColorTable("the class file", own)
    by_index = None if moved is None else _name_by_index(moved, names)
    if by_index is not None and names:
        yield by_index
    yield from (table for table in list_known_tables() if table.knows(colors))
    if by_index is not None:
        yield by_index


def _name_by_index(moved: RenumberedColors, names: tuple[str, ...]) -> ColorTable:
    """The names of the indices that nearly all palettes give a colour."""
    known = dict(enumerate(names)) if names else {index: f"class_{index}" for index in moved.usual.values()}
    ordered = sorted(moved.sure, key=lambda color: moved.usual[color])
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
