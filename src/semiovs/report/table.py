"""Tables of results in a program: rows as dictionaries, which a notebook shows and pandas takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from semiovs.errors import MissingExtraError


class Table(list[dict[str, Any]]):
    """Rows with the same keys; a notebook shows them as a table."""

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("to_pandas() needs pandas, which is not installed; pip install pandas") from None
        return pd.DataFrame(list(self))

    def _repr_html_(self) -> str:
        head = list(self[0]) if self else []
        return render_table(head, ([_format_cell(row[key]) for key in head] for row in self))


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts as HTML."""
    lines = [_render_row("th", head), *(_render_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def render_lines(lines: Iterable[str]) -> str:
    """Paragraphs of plain text as HTML."""
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _render_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
