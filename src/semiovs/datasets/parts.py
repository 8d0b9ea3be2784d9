"""Parts of a benchmark: what is on disk, what is missing and where to get it, and which masks can be made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import DataError
from semiovs.files import sweep_temporaries, write_bytes
from semiovs.images.palette import voc_palette
from semiovs.store.label_png import encode_label

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DatasetPart:
    """One part of a benchmark.

    what: description; place: folder or file in the data set; found, expected: number of files on disk, and of the
    official release; origin: official file and its web page; needed: whether training requires it; enough: number of
    files named by the published lists, None: all.
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
        """``ok``, ``enough`` (for the lists), ``short`` (some missing), ``more`` (than officially) or ``missing``."""
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
class MaskBuild:
    """Masks that can be made: one in `folder` for each of `names`; paint: name -> (H, W) uint8 class ids."""

    what: str
    folder: Path
    names: tuple[str, ...]
    paint: Callable[[str], Any]

    def missing(self) -> list[str]:
        """Names of the masks that are not there yet."""
        return [name for name in self.names if not (self.folder / name).is_file()]

    def run(self, progress: Progress | None = None) -> tuple[int, list[str]]:
        """Make the missing masks, keeping existing ones. Returns the number of masks made, and errors."""
        colors, made, problems = voc_palette().tobytes(), 0, []
        left = self.missing()
        for folder in {(self.folder / name).parent for name in left}:
            if folder.is_dir():
                sweep_temporaries(folder)
        for done, name in enumerate(left, 1):
            try:
                write_bytes(self.folder / name, encode_label(self.paint(name), colors))
                made += 1
            except DataError as error:
                problems.append(f"{name}: {error}")
            if progress is not None:
                progress(done, len(left))
        return made, problems


def read_first_words(path: Path) -> list[str]:
    """First word of each line of a text file such as an ImageSets list; a missing file has none."""
    try:
        return [words[0] for line in path.read_text("utf-8", errors="replace").splitlines() if (words := line.split())]
    except (OSError, ValueError):
        return []


def find_first_folder(places: Iterable[Path]) -> Path | None:
    """The first of the places that is a folder."""
    return next((place for place in places if place.is_dir()), None)


def list_files(folder: Path, suffix: str) -> Iterator[Path]:
    """Files below a folder whose names end with `suffix`, sorted; a missing folder has none."""
    yield from sorted(path for path in folder.glob(f"**/*{suffix}") if path.is_file())
