"""Collect the problems of files, so that one error can report all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from semiovs.errors import DataError


class ProblemList:
    """A list of problems, one line each: file, place, problem.

    found: the lines, in order.
    """

    def __init__(self, found: Iterable[str] = ()) -> None:
        self.found: list[str] = list(found)

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, where: str, what: object) -> None:
        """Add a problem."""
        self.found.append(f"{where}: {what}" if where else str(what))

    @contextmanager
    def collect(self, where: str = "") -> Iterator[None]:
        """Add a DataError that is raised inside the block, and continue after the block."""
        try:
            yield
        except DataError as error:
            self.add(where, error)

    def check(self, what: str) -> None:
        """Raise one DataError for all problems. what: name of what was checked, for the message.

        Raises:
            DataError: there are problems.
        """
        if self.found:
            raise DataError.of(self.found, f"{len(self.found)} problems in {what}")
