"""What of a benchmark is on disk, what is missing, where it is to be had, and what can be made of what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import DataError
from semiovs.files import sweep_temporaries, write_bytes
from semiovs.images.palette import build_palette
from semiovs.store.label_png import label_png

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """One part of a benchmark.

    what: in words; place: folder or file in the data set; found, expected: how many there are, and are official; origin: the
    official file and its page, in words; needed: whether nothing can be trained without it; enough: so many are named by the
    published lists, None: all.
    """

    what: str
    place: str
    found: int
    expected: int
    origin: str
    needed: bool = True
    enough: int | None = None

    @property
    def status(self) -> str:
        """``ok``, ``enough`` (for the lists), ``short`` (some are missing), ``more`` (than officially), or ``missing``."""
        if not self.found:
            return "missing"
        if self.found >= self.expected:
            return "ok" if self.found == self.expected else "more"
        return "short" if self.enough is None or self.found < self.enough else "enough"

    @property
    def lacking(self) -> bool:
        """Whether files are missing."""
        return self.status in {"missing", "short"}

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "status": self.status}


@dataclass(frozen=True)
class Making:
    """Masks that can be made: into `folder`, one for each of `names` (paths below it); paint: name -> (H, W) uint8 class ids."""

    what: str
    folder: Path
    names: tuple[str, ...]
    paint: Callable[[str], Any]

    def left(self) -> list[str]:
        """Names of the masks that are not there yet."""
        return [name for name in self.names if not (self.folder / name).is_file()]

    def run(self, progress: Progress | None = None) -> tuple[int, list[str]]:
        """Make what is left; what is there stays, so repeating goes on. Returns how many were made, and what could not be."""
        colors, made, problems = build_palette().tobytes(), 0, []
        left = self.left()
        for folder in {(self.folder / name).parent for name in left}:
            if folder.is_dir():
                sweep_temporaries(folder)
        for done, name in enumerate(left, 1):
            try:
                write_bytes(self.folder / name, label_png(self.paint(name), colors))
                made += 1
            except DataError as error:
                problems.append(f"{name}: {error}")
            if progress is not None:
                progress(done, len(left))
        return made, problems


def lines_of(path: Path) -> list[str]:
    """First words of the lines of a small text file, such as an ImageSets list; an absent one has none."""
    try:
        return [words[0] for line in path.read_text("utf-8", errors="replace").splitlines() if (words := line.split())]
    except (OSError, ValueError):
        return []


def first_folder(places: Iterable[Path]) -> Path | None:
    """The first of the places that is a folder."""
    return next((place for place in places if place.is_dir()), None)


def walked(folder: Path, suffix: str) -> Iterator[Path]:
    """Files below a folder whose names end with `suffix`, sorted; an absent folder has none."""
    yield from sorted(path for path in folder.glob(f"**/*{suffix}") if path.is_file())
