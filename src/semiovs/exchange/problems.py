"""Collect the problems of files, so that one error can report all of them, and count the shapes that cover nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from semiovs.errors import DataError

#: Kinds of `DataError` that mean one shape without pixels in a file that is read right, and their names in messages.
WITHOUT_PIXELS = MappingProxyType(
    {
        "few-points": "polygon of fewer than 3 points",
        "flat": "polygon without area",
        "odd": "polygon of an odd number of numbers",
        "not-finite": "shape with NaN or infinity",
        "outside": "shape outside of the image",
        "box-only": "object with only a box",
        "nothing": "object without segmentation and box",
    }
)


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


@dataclass
class SkippedShapes:
    """Shapes that cover no pixel, or whose pixels are not known: left out without an error, but never unsaid.

    counts: how many of each kind; first: where the first of a kind stands.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, kind: str, where: str) -> None:
        """Count a shape."""
        self.counts[kind] += 1
        self.first.setdefault(kind, where)

    def add_all(self, other: SkippedShapes) -> None:
        """Count the shapes of another file too."""
        self.counts += other.counts
        self.first = {**other.first, **self.first}

    def add_error(self, error: DataError, where: str) -> bool:
        """Count the shape that an error is about, if its kind is one of `WITHOUT_PIXELS`; return whether it is."""
        if error.kind not in WITHOUT_PIXELS:
            return False
        self.add(WITHOUT_PIXELS[error.kind], where)
        return True

    @contextmanager
    def collect(self, where: str, problems: ProblemList) -> Iterator[None]:
        """Count the shape that the block finds to be without pixels; other DataErrors become problems."""
        try:
            yield
        except DataError as error:
            if not self.add_error(error, where):
                problems.add("", error)

    def format_lines(self) -> list[str]:
        """One line a kind: how many, what, and where the first is."""
        return [f"{number} not drawn: {kind} (first: {self.first[kind]})" for kind, number in self.counts.items()]


def explain_undrawn(skipped: SkippedShapes, thin: int = 0) -> str:
    """Say that no shape of a file has pixels, and why. thin: number of shapes thinner than a pixel."""
    kinds = [f"{number} {kind}" for kind, number in skipped.counts.items()]
    kinds += [f"{thin} thinner than a pixel"] if thin else []
    first = next(iter(skipped.first.values()), "")
    where = f" (first: {first})" if first else ""
    return f"no shape could be drawn: {', '.join(kinds)}{where}; pixels are told by polygons, masks, boxes and ellipses"
