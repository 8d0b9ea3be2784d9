"""Tars of labels: written with the same bytes each time, in WebDataset's layout, and checked member by member.

An image is a sample of the fields ``label.png``, ``json`` (its line of the index) and, where it has one,
``confidence.png``. Times, users and groups are 0.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from typing import IO, BinaryIO

from semiovs.images.containers.tar_members import TarMembers, find_fault

#: Part of an image -> the field that its member's name ends in.
FIELDS = {"confidence": ".confidence.png", "line": ".json", "labels": ".label.png"}

_CHUNK = 1 << 20


class ShardWriter:
    """Writes members one after the other; `finish` gives size and SHA-256 of the tar."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self._size = file, hashlib.sha256(), 0

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Write a member; returns the place of its data: byte and number of bytes."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))
        place = (self._size, len(data))
        self._write(data)
        self._write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return place

    def finish(self) -> tuple[int, str]:
        """Write the end of the tar."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self._size % tarfile.RECORDSIZE))
        return self._size, self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)


class _HashedFile:
    """A file for reading that hashes each of its bytes once, in order, whatever is read twice or skipped."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self._position, self._hashed = file, hashlib.sha256(), 0, 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        new = self._position + len(data) - self._hashed
        if new > 0:
            self._hash.update(data[len(data) - new :])
            self._hashed += new
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = offset + (self._position if whence == os.SEEK_CUR else 0)
        if self._position < self._hashed or target < self._position:
            self._position = self._file.seek(min(target, self._hashed))
        while self._position < target and self.read(min(target - self._position, _CHUNK)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def finish(self) -> tuple[int, str]:
        """Bytes and SHA-256 of the whole file."""
        self.seek(self._hashed)
        while self.read(_CHUNK):
            pass
        return self._hashed, self._hash.hexdigest()


class ShardCheck:
    """Reads a tar of labels once from front to back.

    members: iterated once, gives name, place and SHA-256 of each member; then `problems` (one line each) and `size` and
    `sha256` of the whole file are known.
    """

    def __init__(self, path: str, file: BinaryIO, size: int) -> None:
        self._file = _HashedFile(file)
        self._members = TarMembers(path, self._file, size)
        self.size, self.sha256 = 0, ""

    @property
    def problems(self) -> list[str]:
        """What is wrong with the tar so far."""
        return self._members.problems

    def add_problem(self, name: str, what: str) -> None:
        """Note what is wrong with a member."""
        self._members.add_problem(name, what)

    def members(self) -> Iterator[tuple[str, tuple[int, int], str]]:
        """Name, place and SHA-256 of the members that may stand in a tar of labels."""
        seen = set[str]()
        for member in self._members:
            fault = find_fault(member) or (None if member.isreg() else "is a folder; a tar of labels has none")
            if fault is None and member.name in seen:
                fault = "is there twice"
            if fault is not None:
                self.add_problem(member.name, fault)
                continue
            seen.add(member.name)
            yield member.name, (member.offset_data, member.size), self._digest(member)
        self.size, self.sha256 = self._file.finish()

    def _digest(self, member: tarfile.TarInfo) -> str:
        self._file.seek(member.offset_data)
        found, left = hashlib.sha256(), member.size
        while left and (data := self._file.read(min(left, _CHUNK))):
            found.update(data)
            left -= len(data)
        return found.hexdigest()
