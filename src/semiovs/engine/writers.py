"""Writers of metric rows: metrics.jsonl and the console."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from semiovs.control_characters import escape_lines
from semiovs.duration import format_duration

Row = Mapping[str, Any]


class RowWriter(Protocol):
    """Takes rows with at least `kind` ("train", "eval" or "held_out") and `step`."""

    def write(self, row: Row) -> None:
        """Take one row."""


class JsonLinesWriter:
    """Appends one JSON line per row and closes the file after each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, row: Row) -> None:
        """Append `row`; numbers that JSON does not know become null."""
        clean = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")


class ConsoleWriter:
    """Prints one line per row on standard error; on a terminal also a progress bar."""

    def __init__(self, total_steps: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._total = total_steps
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, transient=True) if self._console.is_terminal else None
        self._task = self._bar.add_task("training", total=total_steps) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def write(self, row: Row) -> None:
        """Print `row`."""
        text = _format_train_row(row) if row["kind"] == "train" else _format_eval_row(row)
        line = escape_lines(f"step {row['step']}/{self._total}  {text}")
        self._console.print(line, soft_wrap=True, markup=False)
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=row["step"])


def _format_train_row(row: Row) -> str:
    parts = [f"epoch {row['epoch']}", f"loss {row.get('loss', math.nan):.4f}"]
    parts += [f"{key.removeprefix('term/')} {value:.4f}" for key, value in row.items() if key.startswith("term/")]
    parts += [f"{key.removeprefix('log/')} {value:.3g}" for key, value in row.items() if key.startswith("log/")]
    rates = [f"{value:.2e}" for key, value in row.items() if key.startswith("lr/")]
    parts.append(f"lr {'/'.join(rates) if len(rates) <= 3 else f'{rates[0]} … {rates[-1]}'}")
    if row.get("skipped"):
        parts.append(f"skipped {row['skipped']}")
    parts.append(f"{row['wall/images_per_second']:.1f} img/s")
    if "wall/memory_gib" in row:
        parts.append(f"{row['wall/memory_gib']:.1f} GiB")
    parts.append(f"ETA {format_duration(row['wall/eta_seconds'])}")
    return "  ".join(parts)


def _format_eval_row(row: Row) -> str:
    where = " on held-out labels" if row["kind"] == "held_out" else ""
    return f"evaluated {row['model']}{where}: mIoU {row['miou']:.2f}{'  (best)' if row.get('best') else ''}"
