"""The result of a scan on disk: rows of fixed size in chunks, small enough that a million of them fit into memory.

A chunk is a file of `CHUNK` rows, written atomically: a killed scan loses only its current chunk, and several processes
can scan one pool, every n-th chunk each. A chunk records which images and settings it was made for, and is computed
again when those change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.array_files import DAMAGE
from semiovs.errors import DataError
from semiovs.files import atomic_write
from semiovs.images.containers.container import open_container, split_path
from semiovs.images.record import Record
from semiovs.images.record_lines import format_record, parse_record
from semiovs.select.candidates import InvalidEntry
from semiovs.similarity.copies import ImageFingerprints

#: Images per chunk.
CHUNK = 256
#: Status of an image.
READ, UNREADABLE, UNANSWERED = 0, 1, 2

PoolEntry = Record | InvalidEntry
_ROOT = Path("/")
_COLUMNS = ("status", "key", "digest", "hash", "size", "picture", "embedding", "presence", "seen")


@dataclass(frozen=True)
class ScanRows:
    """Rows of a scan, in the order of the pool.

    status: (N,) `READ`, `UNREADABLE`, `UNANSWERED`; key: (N,) 64-bit hash of the id; digest: (N, 32); hash: (N,); size:
    (N, 3) width and height inside borders, bytes of the file; picture: (N, 64); embedding: (N, D), D = 0 without an
    encoder; presence: (N, K) score that a share of the pixels reaches, times 255; seen: (N, ceil(K / 8)) bits, classes
    with any pixel.
    """

    status: NDArray[np.uint8]
    key: NDArray[np.uint64]
    digest: NDArray[np.uint8]
    hash: NDArray[np.uint64]
    size: NDArray[np.uint32]
    picture: NDArray[np.int8]
    embedding: NDArray[np.int8]
    presence: NDArray[np.uint8]
    seen: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.key)

    @classmethod
    def empty(cls, count: int, classes: int, width: int) -> ScanRows:
        """Rows of zeros, to be filled in."""
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "status": (np.uint8, ()), "key": (np.uint64, ()), "digest": (np.uint8, (32,)), "hash": (np.uint64, ()),
            "size": (np.uint32, (3,)), "picture": (np.int8, (64,)), "embedding": (np.int8, (width,)),
            "presence": (np.uint8, (classes,)), "seen": (np.uint8, (-(-classes // 8),)),
        }  # fmt: skip
        return cls(**{name: np.zeros((count, *shape), kind) for name, (kind, shape) in shapes.items()})

    @property
    def fingerprints(self) -> ImageFingerprints:
        """The columns by which images are compared."""
        return ImageFingerprints(
            self.digest, self.hash, self.picture, self.embedding if self.embedding.shape[1] else self.picture
        )

    @property
    def bytes_each(self) -> int:
        """Bytes of one row."""
        return sum(getattr(self, name)[:1].nbytes for name in _COLUMNS)


def hash_id(identifier: str) -> int:
    """64-bit hash of an id."""
    return int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "little")


@dataclass(frozen=True)
class ScanTable:
    """The chunks of one pool: files ``<name>-<number>.npz`` in `folder`. settings: identifies how rows are made."""

    folder: Path
    name: str
    settings: str

    def path(self, number: int) -> Path:
        """File of a chunk."""
        return self.folder / f"{self.name}-{number:06d}.npz"

    def chunks(
        self,
        pool: Iterable[PoolEntry],
        version: Callable[[Record], str] = lambda record: "",  # noqa: ARG005
    ) -> Iterator[tuple[int, list[PoolEntry], str]]:
        """Yield (number, images, mark) of each chunk; the mark hashes images, settings and the `version` of each."""
        source = iter(pool)
        for number in range(10**6):
            images = list(islice(source, CHUNK))
            if not images:
                return
            yield number, images, self._compute_mark(images, version)

    def _compute_mark(self, images: Sequence[PoolEntry], version: Callable[[Record], str]) -> str:
        digest = hashlib.sha256(self.settings.encode())
        for image in images:
            digest.update(f"\n{encode_entry(image)}\t".encode())
            if isinstance(image, Record):
                digest.update(f"{_identify_file(image.image)}{version(image)}".encode(errors="replace"))
        return digest.hexdigest()

    def holds(self, number: int, mark: str) -> bool:
        """Whether a chunk is there, whole, and was made for these images and settings."""
        try:
            with np.load(self.path(number), allow_pickle=False) as data:
                return bool(str(data["mark"]) == mark)
        except DAMAGE:
            return False

    def write(self, number: int, mark: str, rows: ScanRows, texts: Sequence[str]) -> None:
        """Write a chunk; texts: a line an image, as `encode_entry` makes it."""
        lines = np.frombuffer("\n".join(texts).encode(), np.uint8)
        with atomic_write(self.path(number)) as file:
            np.savez(file, mark=np.array(mark), texts=lines, **{name: getattr(rows, name) for name in _COLUMNS})

    def rows(self, marks: Sequence[str]) -> ScanRows:
        """All rows of the chunks 0, 1, …, checked against their marks.

        Raises:
            DataError: a chunk is missing, damaged or of other images.
        """
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
        for number, mark in enumerate(marks):
            data = self._load(number, mark, _COLUMNS)
            for name in _COLUMNS:
                parts[name].append(data[name])
        if not marks:
            return ScanRows.empty(0, 0, 0)
        return ScanRows(**{name: np.concatenate(parts.pop(name)) for name in _COLUMNS})

    def texts(self, number: int, mark: str) -> list[str]:
        """The lines of a chunk.

        Raises:
            DataError: as `rows`.
        """
        return bytes(self._load(number, mark, ("texts",))["texts"]).decode().split("\n")

    def _load(self, number: int, mark: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        path = self.path(number)
        try:
            with np.load(path, allow_pickle=False) as data:
                if str(data["mark"]) != mark:
                    raise DataError(f"{path}: made for other images or settings; run the same command again")
                return {name: data[name] for name in names}
        except DAMAGE as error:
            raise DataError(f"{path}: cannot be read ({error}); remove it and run the same command again") from None

    def trim(self, count: int) -> None:
        """Remove chunks from `count` on, left from a longer pool."""
        number = count
        while (path := self.path(number)).is_file():
            path.unlink()
            number += 1


def encode_entry(image: PoolEntry, why: str = "") -> str:
    """Encode an entry of a pool, and what is wrong with it, as one JSON line."""
    if isinstance(image, InvalidEntry):
        return json.dumps({"where": image.where, "why": image.why}, ensure_ascii=True)
    row: dict[str, str] = format_record(image, _ROOT)
    return json.dumps(row | ({"why": why} if why else {}), ensure_ascii=True)


def decode_entry(text: str) -> tuple[PoolEntry, str]:
    """Inverse of `encode_entry`."""
    row = json.loads(text)
    if "where" in row:
        return InvalidEntry(row["where"], row["why"]), row["why"]
    why = row.pop("why", "")
    return parse_record(json.dumps(row), _ROOT), why


def _identify_file(path: Path) -> str:
    """Size of a file as text; for an image in a container, the container's identity of it."""
    try:
        if parts := split_path(path):
            return open_container(parts[0]).identity(parts[1])
        return str(os.stat(path).st_size)  # noqa: PTH116 - a million of them
    except (OSError, ValueError, DataError):
        return "-1"
