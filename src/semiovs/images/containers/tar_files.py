"""Images in tars with random access, by an index of offsets that is stored in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from semiovs.env import cache_dir
from semiovs.errors import DataError
from semiovs.files import write_bytes
from semiovs.images.containers import CHANGED
from semiovs.images.containers.tar_index import TarIndex, index_tar

_FORMAT = 1


class TarImages:
    """A `Container` of one tar. Each read opens the file, so that processes and threads share no file position."""

    def __init__(self, path: Path, index: TarIndex) -> None:
        self.path = path
        self.index = index
        self._names = tuple(index.members)[: index.pictures]

    @classmethod
    def open(cls, path: Path) -> TarImages:
        """Open a tar, with the index from the cache if the tar has not changed, else with a new one.

        Raises:
            DataError: see `index_tar`.
        """
        kept = _cached_index_path(path)
        index = _load_index(kept, path)
        if index is None:
            index = index_tar(path)
            with suppress(OSError):  # without a cache it is made again next time
                write_bytes(kept, _serialize(index))
        return cls(path, index)

    def names(self) -> Sequence[str]:
        """Names of the pictures, in order."""
        return self._names

    def __contains__(self, name: object) -> bool:
        return name in self.index.members

    def read(self, name: str) -> bytes:
        """Read the bytes of a picture, or of another image of its sample.

        Raises:
            DataError: no such member, or the tar changed after it was opened.
        """
        offset, size = self._locate(name)
        with self.path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (self.index.size, self.index.mtime_ns):
                raise DataError(f"{self.path}: the tar changed while it was in use; start again", kind=CHANGED)
            file.seek(offset)
            data = file.read(size)
            while len(data) < size and (more := file.read(size - len(data))):
                data += more
        if len(data) < size:
            raise DataError(f"{self.path}/{name}: {size:,} bytes, of which {len(data):,} could be read")
        return data

    def describe(self, name: str) -> Mapping[str, str]:
        """`source` and `license` of its sidecar."""
        return self.index.about.get(name, {})

    def identity(self, name: str) -> str:
        """Path, size and time of the tar, and the place in it."""
        place = self._locate(name)
        return f"{self.path.absolute()}\0{self.index.size}\0{self.index.mtime_ns}\0{place}"

    def _locate(self, name: str) -> tuple[int, int]:
        try:
            return self.index.members[name]
        except KeyError:
            raise DataError(f"{self.path}/{name}: no such image in this tar") from None


def _cached_index_path(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
    return cache_dir() / "tars" / f"{name}.json"


def _serialize(index: TarIndex) -> bytes:
    """Serialize an index as a checksum and a line of JSON."""
    text = json.dumps({"format": _FORMAT, **asdict(index)}, separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text + b"\n"


def _load_index(kept: Path, path: Path) -> TarIndex | None:
    """Load the stored index, if it is intact and the tar's size and time are unchanged."""
    try:
        status = path.stat()
        checksum, text, _ = kept.read_bytes().split(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != checksum:
            return None
        row: dict[str, Any] = json.loads(text)
        if (row.pop("format"), row["size"], row["mtime_ns"]) != (_FORMAT, status.st_size, status.st_mtime_ns):
            return None
        row["members"] = {name: (offset, size) for name, (offset, size) in row["members"].items()}
        return TarIndex(**row)
    except (OSError, ValueError, KeyError, TypeError):
        return None
