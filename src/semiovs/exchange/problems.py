"""Problems of one or many files, collected so that all of them are told at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from semiovs.errors import DataError


class ProblemList:
    """What is wrong, one line each: file, place in it, what.

    found: the lines, in the order in which they were met.
    """

    def __init__(self, found: Iterable[str] = ()) -> None:
        self.found: list[str] = list(found)

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, where: str, what: object) -> None:
        """Note one problem."""
        self.found.append(f"{where}: {what}" if where else str(what))

    @contextmanager
    def collect(self, where: str = "") -> Iterator[None]:
        """Note a DataError that is raised inside, and go on after the block."""
        try:
            yield
        except DataError as error:
            self.add(where, error)

    def check(self, what: str) -> None:
        """Raise one DataError for all; `what` says what they are in.

        Raises:
            DataError: there are problems.
        """
        if self.found:
            raise DataError.of(self.found, f"{len(self.found)} problems in {what}")
