"""Tables as CSV that a spreadsheet opens without running what a cell says."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from semiovs.control_characters import escape_controls

#: Begins of cells that spreadsheets take for formulas, the wide forms of Chinese and Japanese letters among them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def format_csv_rows(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; a text that would be taken for a formula begins with an apostrophe, numbers stay numbers."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerows([defuse(cell) for cell in row] for row in rows)
    return out.getvalue()


def defuse(cell: object) -> object:
    """The cell; of a text the control characters are spelled out, and one that would be taken for a formula has an
    apostrophe before it.
    """
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell):
        return cell
    mark = "'" if cell.startswith(_FORMULA) else ""
    return mark + escape_controls(cell)
