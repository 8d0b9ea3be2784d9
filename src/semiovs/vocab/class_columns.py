"""Read tables of classes by their heading: columns for the name, the id, and red, green and blue, in any order."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Words of a heading -> what the column holds; ``class_name`` and ``Class Name`` are the same.
_ROLES = {
    **dict.fromkeys(("class", "classes", "name", "names", "label", "labels", "category"), "name"),
    **dict.fromkeys(("class name", "label name", "category name"), "name"),
    **dict.fromkeys(
        ("id", "index", "idx", "value", "pixel", "pixel value", "class id", "label id", "category id"), "id"
    ),
    **{word: word[0] for word in ("r", "g", "b", "red", "green", "blue")},
}
_DELIMITERS = "\t;,"
_NUMBER = re.compile(r"-?\d+(\.\d*)?")


@dataclass(frozen=True)
class Columns:
    """A table by its heading. rows: for each line, which text is the ``name``, ``id``, ``r``, ``g`` and ``b``; wrong:
    number of the line that does not hold, from 0, and why.
    """

    rows: Sequence[dict[str, str]]
    wrong: tuple[int, str] | None = None


def read_columns(lines: Sequence[str]) -> Columns | None:
    """Read lines below a heading of several columns, one of them for names; None if the first is no such heading."""
    delimiter = next((sign for sign in _DELIMITERS if sign in lines[0]), "") if len(lines) > 1 else ""
    if not delimiter:
        return None
    heading, *cells = (_split(line, delimiter) for line in lines)
    roles = [_ROLES.get(re.sub("[ _-]+", " ", cell.lower())) for cell in heading]
    if "name" not in roles:
        return None
    for number, row in enumerate(cells, 1):
        if len(row) != len(heading):
            return Columns((), (number, f"{len(row)} columns below a heading of {len(heading)}"))
    numeric = [all(_NUMBER.fullmatch(row[place]) for row in cells) for place in range(len(heading))]
    if roles.count("name") > 1:
        roles = ["id" if role == "name" and numbers else role for role, numbers in zip(roles, numeric, strict=True)]
    for place, role in enumerate(roles):
        if (role is None and numeric[place]) or (role is not None and roles.count(role) > 1):
            return Columns((), (0, f"the column '{heading[place]}' may be meant in two ways; keep 'id,name,r,g,b'"))
    return Columns([{role: cell for role, cell in zip(roles, row, strict=True) if role} for row in cells])


def _split(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [cell.strip() for cell in cells]
