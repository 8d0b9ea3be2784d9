"""Progress of long work, on stderr: a bar on a terminal, else a line every 15 seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from semiovs.control_characters import escape_lines
from semiovs.duration import format_duration

#: Seconds between two lines where stderr is no terminal.
_EVERY = 15.0

#: Called with how many images or other units are done, and how many there are.
Progress = Callable[[int, int], None]
#: Told one line.
Say = Callable[[str], None]


class ShowProgress(Protocol):
    """Shows how far some work is while its context is entered; `show_progress` is one."""

    def __call__(self, what: str, *, unit: str = "images") -> AbstractContextManager[Progress]:
        """What: words for the work; unit: what is counted, a plural."""


def print_line(text: str) -> None:
    """Print a message, to stderr; control characters in it are spelled out."""
    print(escape_lines(text), file=sys.stderr, flush=True)


@contextmanager
def show_progress(what: str, *, unit: str = "images", shown: bool = True, say: Say = print_line) -> Iterator[Progress]:
    """Function to call with (done, total) after each image or other unit; shows speed and time left (nothing unless
    `shown`).

    say: told the lines where stderr is no terminal.
    """
    if not shown:
        yield lambda done, total: None  # noqa: ARG005
    elif sys.stderr.isatty():
        with _show_bar(what) as show:
            yield show
    else:
        yield _ProgressLines(what, unit, say)


@contextmanager
def _show_bar(what: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    left = (TextColumn("{task.fields[speed]} time left"), TimeRemainingColumn())
    columns = (TextColumn(escape_lines(what), markup=False), BarColumn(), MofNCompleteColumn(), *left)
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task, speed = bar.add_task(what, total=None, speed=""), _SpeedMeter()

        def show(done: int, total: int) -> None:
            found = speed(done)
            bar.update(task, completed=done, total=total, speed=f"{_format_speed(found)}," if found else "")

        yield show


def _format_speed(speed: float) -> str:
    """Units a second, or seconds a unit where these are more than two."""
    return f"{speed:.1f} a second" if speed > 0.5 else f"{1 / speed:.0f} s each"


class _SpeedMeter:
    """Images per second since the first call; images done before it are not counted."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self._first is None:
            self._first, self._begin = done, now
        return (done - self._first) / max(now - self._begin, 1e-9)


class _ProgressLines:
    """Says a line every `_EVERY` seconds."""

    def __init__(self, what: str, unit: str, say: Say) -> None:
        self._what, self._unit, self._say = what, unit, say
        self._last = time.monotonic()
        self._speed = _SpeedMeter()

    def __call__(self, done: int, total: int) -> None:
        now, speed = time.monotonic(), self._speed(done)
        if now - self._last < _EVERY or done >= total:
            return
        self._last = now
        pace = f", {_format_speed(speed)}, {format_duration((total - done) / speed)} left" if speed else ""
        self._say(f"{self._what}: {done} of {total} {self._unit}{pace}")
