"""Read class names from text files, one a line, as people and other programs write them: with comments, a heading,
ids or colours. What would shift the ids of the classes is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from semiovs.vocab.colors import RGB

#: Endings of files that are read so.
SUFFIXES = (".txt", ".csv", ".names")

_YAML = re.compile(r"(---|[\[{]|(names|classes)\s*:|-\s+\S)")
_COMMENT = re.compile(r"^\s*#.*|\s#(\s.*)?$")
#: Words of a heading: one of the first, and nothing but these.
_HEADING = frozenset({"class", "classes", "name", "names", "label", "labels", "category"})
_COLUMNS = _HEADING | {"pixel", "value", "id", "index", "color", "colour", "r", "g", "b", "red", "green", "blue"}
_CVAT = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3}):[^:]*:[^:]*")
_COLOR_LAST = re.compile(r"(\S.*?)[\s,;:]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})")
_COLOR_FIRST = re.compile(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+([^\d\s].*)")
_ID_FIRST = re.compile(r"([0-9]{1,3})[\s:;,.=]\s*(\S.*)")
_ID_LAST = re.compile(r"(\S.*?)[\s:;,=]+([0-9]{1,3})")
#: Most characters of a line.
_LONGEST = 1000
_AS_NAMES = "if the numbers belong to the names, write the classes into a YAML file"

#: What is understood, for the user guide: texts of files, what they are read as, and whether they are refused.
FORMS: tuple[tuple[tuple[str, ...], str, bool], ...] = (
    (("road\ncar",), "names, in the order of their ids", False),
    (
        ("0 road\n1 car", "0: road\n1: car", "road 0\ncar 1", "road,0\ncar,1", "id,name\n1,car\n0,road"),
        "ids, in any order",
        False,
    ),
    (("1 road\n2 car",), "refused: say what 0 means", True),
    (("0 road\n7 car",), "refused; in a YAML file such ids are put in order, with a map", True),
    (("__ignore__\n_background_\nroad",), "background, road (LabelMe); `__ignore__` is no class", False),
    (("# comment\nroad\n\ncar # comment",), "names; comments and blank lines are none", False),
    (
        ("road:128,64,128::\ncar:0,0,142::", "road 128 64 128\ncar 0 0 142", "128 64 128 road\n0 0 142 car"),
        "names and colours (CVAT, CamVid)",
        False,
    ),
    (("names: [road, car]", "names: {1: car, 0: road}", "- road\n- car"), "names (YOLO, YAML)", False),
    (("name\nroad\ncar", "0 road\ncar\n2 sky"), "refused: a heading without a table, ids on some lines only", True),
)


class ClassListError(ValueError):
    """A text that is no clear list of classes. line: its number from 1; reason: what is unclear, and what to do."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


@dataclass(frozen=True)
class ListedClass:
    """A class of a text file. line: its number from 1; color: None where the file gives none."""

    line: int
    name: str
    color: RGB | None = None


def looks_like_yaml(text: str) -> bool:
    """Whether a text file holds YAML: ``names:``, ``[road, car]``, ``- road``."""
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    return _YAML.match(first) is not None


def parse_class_list(text: str) -> list[ListedClass]:
    """Parse one class name a line, in the order of the ids.

    Understood, beside names alone: blank lines and ``#`` comments; LabelMe's ``__ignore__`` as first line; ids from 0
    before or after the names (``0 road``, ``road: 0``), in any order, and a heading above them (Roboflow's
    ``_classes.csv``); colours (``road 128 64 128``, CVAT's ``road:128,64,128::``).

    Raises:
        ClassListError: ids that do not go from 0 without gaps, on some lines only; a heading without a table; a line
            that is too long.
    """
    lines = text.splitlines()
    if long := next((number for number, line in enumerate(lines, 1) if len(line) > _LONGEST), 0):
        raise ClassListError(long, f"{len(lines[long - 1]):,} characters in one line; is this a list of classes?")
    rows = [
        ListedClass(number, kept) for number, line in enumerate(lines, 1) if (kept := _COMMENT.sub("", line).strip())
    ]
    rows = _drop_ignore(rows)
    table = _read_table(rows[1:]) if _is_heading(rows) else None
    if table is None:
        return _read_table(rows) or rows
    if not table:
        what = f"'{rows[0].name}' looks like a heading, not like class 0; take the line away, or write a YAML file"
        raise ClassListError(rows[0].line, what)
    return table


def _drop_ignore(rows: list[ListedClass]) -> list[ListedClass]:
    """Drop LabelMe's ``__ignore__``, which has no id; ``_background_`` after it is the background."""
    for place, row in enumerate(rows):
        if row.name == "__ignore__" and place > 0:
            raise ClassListError(row.line, "'__ignore__' is no class; LabelMe has it on the first line alone")
    if not rows or rows[0].name != "__ignore__":
        return rows
    return [replace(row, name="background") if row.name == "_background_" else row for row in rows[1:]]


def _is_heading(rows: Sequence[ListedClass]) -> bool:
    words = re.findall("[a-z]+", rows[0].name.lower()) if len(rows) > 1 else []
    return bool(_HEADING & {*words}) and {*words} <= _COLUMNS and not re.search(r"\d", rows[0].name)


def _read_table(rows: list[ListedClass]) -> list[ListedClass]:
    """Read ids and colours beside the names; empty if there are none."""
    read = _take_colors(_take_ids(_take_colors(rows)))
    return [] if read == rows else read


def _take_colors(rows: list[ListedClass]) -> list[ListedClass]:
    """Take colours from all names, or from none."""
    cvat = [_CVAT.fullmatch(row.name) for row in rows]
    if None in cvat and any(row.name.endswith("::") for row in rows):
        wrong = rows[cvat.index(None)]
        raise ClassListError(wrong.line, f"'{wrong.name}': expected 'name:red,green,blue:parts:actions' as on others")
    for pattern, name_first in ((_CVAT, True), (_COLOR_LAST, True), (_COLOR_FIRST, False)):
        found = [pattern.fullmatch(row.name) for row in rows]
        parts = [match.groups() if name_first else (match[4], *match.groups()[:3]) for match in found if match]
        colors = [tuple(map(int, color)) for _, *color in parts]
        if parts and len(parts) == len(rows) and max(map(max, colors)) <= 255:
            return [
                replace(row, name=name.strip(), color=(red, green, blue))
                for row, (name, *_), (red, green, blue) in zip(rows, parts, colors, strict=True)
            ]
    return rows


def _take_ids(rows: list[ListedClass]) -> list[ListedClass]:
    """Take ids from before or after all names, and sort by them; the rows themselves if there are none."""
    before = [(int(match[1]), match[2]) if (match := _ID_FIRST.fullmatch(row.name)) else None for row in rows]
    if given := [pair for pair in before if pair is not None]:
        if len(given) == len(rows):
            return _sort_by_id(rows, given)
        _check_some_ids(rows, before)
    after = [(int(match[2]), match[1]) for row in rows if (match := _ID_LAST.fullmatch(row.name))]
    if len(after) == len(rows) > 1 and len({name for _, name in after}) == len(rows):
        ids = [number for number, _ in after]
        if ids == sorted(ids) or sorted(ids) == list(range(len(ids))):
            return _sort_by_id(rows, after)
    return rows


def _sort_by_id(rows: list[ListedClass], given: Sequence[tuple[int, str]]) -> list[ListedClass]:
    ordered = sorted(zip(given, rows, strict=True), key=lambda pair: pair[0][0])
    ids = [number for (number, _), _ in ordered]
    if ids == list(range(1, len(ids) + 1)):
        what = f"the ids go from 1, those of masks from 0; add a line for 0 (0 background); {_AS_NAMES}"
        raise ClassListError(ordered[0][1].line, what)
    for index, ((number, _), row) in enumerate(ordered):
        if number != index:
            what = f"id {number} where {index} follows; ids go from 0 without gaps; with gaps: classes.yaml with"
            raise ClassListError(row.line, f"{what} 'classes: {{0: road, 7: car}}', then semiovs init; {_AS_NAMES}")
    return [replace(row, name=name) for (_, name), row in ordered]


def _check_some_ids(rows: list[ListedClass], given: Sequence[tuple[int, str] | None]) -> None:
    """Refuse ids on some lines only, if they count the lines."""
    counted = list(_count_from(given))
    if len(counted) > 1 and len(set(counted)) == 1:
        wrong = rows[given.index(None)]
        raise ClassListError(wrong.line, f"'{wrong.name}' has no id, but other lines have; {_AS_NAMES}")


def _count_from(given: Sequence[tuple[int, str] | None]) -> Iterator[int]:
    """Yield for each id what the count of the lines starts with if it counts them."""
    yield from (pair[0] - place for place, pair in enumerate(given) if pair is not None)
