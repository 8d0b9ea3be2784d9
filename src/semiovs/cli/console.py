"""Output of the commands: data on stdout, messages on stderr. rich is imported only for a terminal.

All of it is printed here, and control characters in it (of file names, class names, YAML) are shown, not obeyed.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TextIO

import typer

from semiovs.control_characters import CONTROL, escape_lines
from semiovs.env import log_level
from semiovs.errors import SemiovsWarning, UsageError, did_you_mean

#: The ``--json`` switch of every verb that reports.
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
#: Options of the verbs that a Ray cluster can run, see `semiovs.clusters.ray_cluster.wants_ray`.
Engine = Annotated[str, typer.Option(metavar="local|ray", help="Who runs it: this process, or a Ray cluster.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="With --engine ray: largest number of processes; default: all GPUs or cores.")
]

#: A coloured cell of `format_swatch`: the background set to a colour, and its code.
_SWATCH = re.compile(r"\x1b\[48;2;\d{1,3};\d{1,3};\d{1,3}m   \x1b\[0m #[0-9a-f]{6}")
#: Characters of a line of a message that are printed.
_LONGEST = 4000
#: Stands for the escape character of tables until they are printed; nobody can guess it.
_ESCAPE = f"<{os.urandom(8).hex()}>"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def out(text: str) -> None:
    """Print data, to stdout."""
    print(escape_lines(text).replace(_ESCAPE, "\x1b"), file=sys.stdout)


def log(text: str) -> None:
    """Print a message, to stderr; a line that is a file printed back is cut."""
    print("\n".join(map(_cut, escape_lines(text).split("\n"))), file=sys.stderr, flush=True)


def error(message: str) -> None:
    """Print an error, ``error:`` before each of its lines."""
    for line in message.rstrip("\n").split("\n"):
        log(f"error: {line}")


def _cut(line: str) -> str:
    left = len(line) - _LONGEST
    return line if left <= 0 else f"{line[:_LONGEST]}… and {left:,} more characters"


def report(data: Any, *, as_json: bool, text: str | None = None) -> None:
    """Print a result: `data` as JSON, or `text` (as made by `format_table`) for a person."""
    if as_json or text is None:
        text = json.dumps(to_jsonable(data), indent=2, ensure_ascii=False)
        out(CONTROL.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text))
    else:
        out(text)


def to_jsonable(data: Any) -> Any:
    """Plain data for JSON: tuples become lists, paths text, numbers that are not finite null."""
    if isinstance(data, Mapping):
        return {str(key): to_jsonable(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [to_jsonable(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data if data is None or isinstance(data, str | int | float) else str(data)


def format_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> str:
    """Format a table as text: ruled and as wide as the terminal, or, if stdout is no terminal, as plain aligned
    columns.
    """
    cells = [["" if cell is None else _escape_cell(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        return _format_ruled(columns, cells, title)
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    lines = ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in [columns, *cells]]
    return "\n".join([title, *lines] if title else lines)


def _format_ruled(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    heads = [Column(Text(escape_lines(column))) for column in columns]
    ruled = Table(*heads, title=title and Text(escape_lines(title), "italic"), box=SIMPLE_HEAD, title_justify="left")
    for row in rows:
        ruled.add_row(*(_make_cell(Text, cell) for cell in row))
    console = Console(file=sys.stdout)
    with console.capture() as captured:
        console.print(ruled)
    return captured.get().strip("\n").replace("\x1b", _ESCAPE)


def _escape_cell(cell: str) -> str:
    return cell if _SWATCH.fullmatch(cell) else escape_lines(cell)


def _make_cell(text: Any, cell: str) -> Any:
    """Make a cell of text; only those of `format_swatch` may hold colours."""
    made = text.from_ansi(cell) if _SWATCH.fullmatch(cell) else text(cell)
    made.overflow = "fold"
    return made


def format_swatch(color: tuple[int, int, int]) -> str:
    """Format a colour as a cell of `format_table`: its hex code, after a coloured patch on a terminal (unless
    NO_COLOR).
    """
    from semiovs.vocab.colors import format_hex

    code = format_hex(color)
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return code
    return f"\x1b[48;2;{';'.join(map(str, color))}m   \x1b[0m {code}"


@contextmanager
def session() -> Iterator[None]:
    """Set up stdout, the log and warnings for one command, and put them back after it.

    Raises:
        UsageError: `SEMIOVS_LOG_LEVEL` is no level.
    """
    _replace_closed_files()
    for stream in (sys.stdout, sys.stderr):
        _escape_unprintable(stream)
    level = log_level()
    if level not in _LEVELS:
        raise UsageError(f"SEMIOVS_LOG_LEVEL '{level}' is not a level{did_you_mean(level, _LEVELS)}")
    logger = logging.getLogger("semiovs")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _make_showwarning(warnings.showwarning)
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escape_lines(super().format(record))


class _ClosedOutput(io.TextIOBase):
    """Stands for a stdout that the shell closed (``>&-``): whoever prints data learns that they are lost."""

    def write(self, _: str) -> int:
        raise OSError(errno.EBADF, "stdout is closed, and there is something to print")


def _replace_closed_files() -> None:
    """Take the numbers of standard files that the shell closed, so that no file of the program gets one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True)


def _escape_unprintable(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _make_showwarning(others: Any) -> Any:
    def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, SemiovsWarning):
            log(f"warning: {message}")
        else:
            text = escape_lines(str(message))
            others(message if text == str(message) else UserWarning(text), category, *rest, **named)

    return show
