"""The append-only index of a pseudo-label store: one JSON line an image, written in one piece, under a lock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import DataError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class IndexRow:
    """One labelled image.

    label, confidence: SHA-256 of the files; size: (height, width); pixels: class id (255 = ignore) -> number of pixels;
    image: checksum of the image, if the teacher gave it.
    """

    id: str
    label: str
    confidence: str | None
    size: tuple[int, int]
    pixels: dict[int, int]
    image: str | None = None

    def to_line(self) -> bytes:
        """JSON line, with its newline."""
        data: dict[str, Any] = {
            "id": self.id,
            "label": self.label,
            "confidence": self.confidence,
            "size": list(self.size),
            "pixels": {str(value): count for value, count in self.pixels.items()},
        }
        if self.image is not None:
            data["image"] = self.image
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> IndexRow:
        """Inverse of `to_line`; ValueError, KeyError or TypeError for anything else."""
        data = json.loads(line)
        height, width = data["size"]
        pixels = {int(value): int(count) for value, count in data["pixels"].items()}
        if not pixels.keys() <= set(range(256)):
            raise ValueError("class ids outside 0..255")
        confidence = data["confidence"]
        return cls(
            str(data["id"]),
            str(data["label"]),
            None if confidence is None else str(confidence),
            (int(height), int(width)),
            pixels,
            data.get("image"),
        )


class Index:
    """Rows by id; the last line of an id counts."""

    def __init__(self, path: Path, rows: dict[str, IndexRow]) -> None:
        self.path = path
        self._rows = rows

    @classmethod
    def open(cls, path: Path) -> Index:
        """Read the lines; a last line without its newline is what a killed writer left, and is removed.

        Raises:
            DataError: a line in the middle that is not one of ours.
        """
        rows: dict[str, IndexRow] = {}
        if not path.exists():
            return cls(path, rows)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        if data and not data.endswith(b"\n"):
            data = _repair(path)
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            try:
                row = IndexRow.from_line(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise DataError(
                    f"{path}:{number}: damaged line; remove it and run `semiovs label` again: it redoes that image"
                ) from None
            rows[row.id] = row
        return cls(path, rows)

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, identifier: str) -> IndexRow | None:
        """Row of an id, or None."""
        return self._rows.get(identifier)

    def rows(self) -> Iterator[IndexRow]:
        """All rows, in the order in which their ids were first added."""
        return iter(self._rows.values())

    def append(self, row: IndexRow) -> None:
        """Add a row: one write at the end of the file; a write that the disk cuts short is taken back (OSError)."""
        line = row.to_line()
        with _locked(self.path) as file:
            end = os.fstat(file).st_size
            try:
                if os.write(file, line) != len(line):
                    raise OSError("no space left on the device")
            except OSError:
                os.ftruncate(file, end)
                raise
        self._rows[row.id] = row


def _repair(path: Path) -> bytes:
    """Cut the file after its last newline and return the rest; under the lock, so no writer is in the middle of a line."""
    try:
        with _locked(path) as file:
            whole = _whole_lines(path)
            os.ftruncate(file, len(whole))
            return whole
    except PermissionError:  # a store that may only be read
        return _whole_lines(path)


def _whole_lines(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)
