"""Index of a pseudo-label store: one JSON line per image, appended under a lock, sorted by id at the end of a job."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import DataError
from semiovs.files import atomic_write, open_locked, open_regular, parse_json
from semiovs.images.record_lines import is_valid_id
from semiovs.store.store_folder import INDEX, open_folder

#: A line of `IndexRow.to_line` without escapes, whose id is found without parsing JSON.
_LINE = re.compile(
    rb'\{"id":"([^"\\\x00-\x1f]+)","label":"[0-9a-f]{64}","confidence":(?:null|"[0-9a-f]{64}"),"size":\[\d+,\d+\],'
    rb'"pixels":\{(?:"\d{1,3}":\d+,?)*\}(?:,"image":"[^"\\]*")?\}\n'
)

#: What lines that do not hold raise; OverflowError: 1e999 where a whole number belongs.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, DataError)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Index entry of one labelled image.

    label, confidence: SHA-256 of the files; size: (height, width); pixels: class id (255 = ignore) -> number of pixels;
    image: checksum of the image, if known.
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
        """Inverse of `to_line`; raises one of `_DAMAGE` for other lines."""
        data = parse_json(line)
        height, width = data["size"]
        pixels = {int(value): int(count) for value, count in data["pixels"].items()}
        if not pixels.keys() <= set(range(256)):
            raise ValueError("class ids outside 0..255")
        confidence = data["confidence"]
        if not isinstance(data.get("image"), str | None):
            raise TypeError("the checksum of the image is no text")
        return cls(
            _require_id(data["id"]),
            str(data["label"]),
            None if confidence is None else str(confidence),
            (int(height), int(width)),
            pixels,
            data.get("image"),
        )


def _require_id(identifier: Any) -> str:
    """Return an id, which names files of the store: one that leads out of it is damage."""
    if not isinstance(identifier, str) or not is_valid_id(identifier):
        raise ValueError("no id")
    return identifier


class StoreIndex:
    """Lines by id; the last line of an id counts. Lines are kept unparsed (about 0.45 GB per million).

    Made by `open`. Writers hold `locked`, which first reads everything that other processes wrote.
    """

    def __init__(self, path: Path, damaged: list[int] | None = None) -> None:
        self.path = path
        self._damaged = damaged
        self._reset()

    def _reset(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._end = self._lines = 0
        self._file: tuple[int, int] | None = None
        self._last, self._ordered = "", True

    @classmethod
    def open(cls, path: Path, *, damaged: list[int] | None = None, read_only: bool = False) -> StoreIndex:
        """Read the lines; an incomplete last line of a killed writer is removed, or with `read_only` left out.

        damaged: filled with the numbers of invalid lines, which are then skipped.

        Raises:
            DataError: unreadable; without `damaged`, an invalid line.
        """
        index = cls(path, damaged)
        try:
            if index._read_new_lines() > index._end and not read_only:
                with index.locked():  # waits for a writer that may still be writing that line
                    pass
        except FileNotFoundError:
            pass
        except PermissionError as error:  # a read-only store
            if not os.access(path, os.R_OK):
                raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        return index

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, identifier: str) -> IndexRow | None:
        """Row of an id, or None."""
        line = self._rows.get(identifier)
        return None if line is None else self._parse_row(identifier, line)

    def line(self, identifier: str) -> bytes | None:
        """Line of an id, or None."""
        return self._rows.get(identifier)

    def rows(self) -> Iterator[IndexRow]:
        """All rows, in the order in which their ids were first added."""
        return (self._parse_row(identifier, line) for identifier, line in self._rows.items())

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Lock the index, read what other writers added, and yield the open file for `append`; raises OSError."""
        file = open_locked(self.path)
        try:
            status = os.fstat(file)
            if self._file not in {None, (status.st_dev, status.st_ino)} or status.st_size < self._end:
                self._reset()  # the file was replaced
            self._read_new_lines()
            if os.fstat(file).st_size > self._end:
                os.ftruncate(file, self._end)  # an incomplete line of a killed writer
            yield file
        finally:
            os.close(file)

    def append(self, file: int, rows: Iterable[IndexRow]) -> None:
        """Add rows within `locked` by one durable write; an incomplete write is undone (OSError)."""
        lines = [(row.id, row.to_line()) for row in rows]
        data = b"".join(line for _, line in lines)
        try:
            if os.write(file, data) != len(data):
                raise OSError(28, "No space left on device")
            os.fsync(file)
        except OSError:
            os.ftruncate(file, self._end)
            raise
        for identifier, line in lines:
            self._add_line(identifier, line)

    def settle(self, *, drop: Iterable[str] = (), take: Iterable[tuple[str, bytes]] = ()) -> None:
        """Sort the file by id with one line per id, without the ids `drop` and with the lines `take`.

        Call within `locked`; the file is replaced atomically. Stores of equal content then have equal bytes.
        """
        before = len(self._rows)
        for identifier in drop:
            self._rows.pop(identifier, None)
        new = dict(take)
        self._rows.update(new)
        if self._ordered and self._lines == len(self._rows) == before and not new and not self._damaged:
            return
        with atomic_write(self.path) as file:
            file.writelines(self._rows[identifier] for identifier in sorted(self._rows))
        self._reset()
        if self._damaged is not None:
            self._damaged = []
        self._read_new_lines()

    def _read_new_lines(self) -> int:
        """Read the lines after those that are known; return the size of the file."""
        with open_regular(self.path) as file:
            status = os.fstat(file.fileno())
            self._file = (status.st_dev, status.st_ino)
            file.seek(self._end)
            self.take_lines(file)
            return os.fstat(file.fileno()).st_size

    def take_lines(self, lines: Iterable[bytes]) -> None:
        """Read lines up to the first that is incomplete."""
        for line in lines:
            if not line.endswith(b"\n"):
                break
            self._add_line(self._parse_id(line), line)

    def _add_line(self, identifier: str | None, line: bytes) -> None:
        self._lines += 1
        self._end += len(line)
        if identifier is not None:
            self._ordered = self._ordered and identifier > self._last
            self._last = identifier
            self._rows[identifier] = line

    def _parse_id(self, line: bytes) -> str | None:
        """Id of a line; None for a damaged one, which is noted. Whoever asks for damage has every line parsed whole."""
        try:
            match = _LINE.fullmatch(line) if self._damaged is None else None
            return IndexRow.from_line(line).id if match is None else _require_id(match[1].decode())
        except _DAMAGE:
            number = self._lines + 1
            if self._damaged is None:
                raise DataError(
                    f"{self.path}:{number}: damaged line; `semiovs labels verify {self.path.parent} --fix` removes it, "
                    "then `semiovs label` redoes that image"
                ) from None
            self._damaged.append(number)
            return None

    def _parse_row(self, identifier: str, line: bytes) -> IndexRow:
        try:
            return IndexRow.from_line(line)
        except _DAMAGE:
            raise DataError(
                f"{self.path}: the line of '{identifier}' is damaged; `semiovs labels verify {self.path.parent} --fix` "
                "removes it"
            ) from None


def open_index(root: Path, *, damaged: list[int] | None = None) -> StoreIndex:
    """The index of a packed store, in a folder or by a URL; nothing is written.

    damaged: as `StoreIndex.open`.

    Raises:
        DataError: as `StoreIndex.open`.
    """
    folder = open_folder(root)
    index = StoreIndex(Path(folder.path(INDEX)), damaged)
    try:
        index.take_lines(io.BytesIO(folder.read(INDEX)))
    except OSError as error:
        raise DataError(f"{folder.path(INDEX)}: cannot be read: {error.strerror or error}") from None
    return index
