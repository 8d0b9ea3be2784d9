"""Members of a tar in one pass over its headers, and what no member of a tar may be."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from semiovs.errors import DataError
from semiovs.images.record_lines import require_storable, shorten

#: Largest header of one member, in bytes; longer ones are refused as hostile.
_LARGEST_HEADER = 1 << 20
_BLOCK = tarfile.BLOCKSIZE


class TarFile(Protocol):
    """What is read of a file: as `BinaryIO`."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """Go to a byte."""

    def tell(self) -> int:
        """The byte where it stands."""


class _BoundedFile:
    """A file for `tarfile` that refuses large reads: tarfile would read headers of any size into memory."""

    def __init__(self, file: TarFile) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


class TarMembers:
    """Iterates over all members in order; errors that end the pass early become `problems`, one line each.

    path: named in problems; size: of the file in bytes. The file may be read between two members, from any place.
    """

    def __init__(self, path: Path | str, file: TarFile, size: int) -> None:
        self.path = path
        self.problems: list[str] = []
        self._file, self._size = file, size

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        try:
            with tarfile.open(fileobj=_BoundedFile(self._file), mode="r:") as tar:  # type: ignore[call-overload]
                before = -1
                while (member := tar.next()) is not None:
                    tar.members.clear()  # it would keep them all
                    if tar.offset <= before:
                        raise tarfile.ReadError("a member that ends before it begins")
                    before = tar.offset
                    if member.offset_data + (member.size if member.isreg() else 0) > self._size:
                        left = self._size - member.offset_data
                        self.add_problem(
                            member.name,
                            f"claims {member.size:,} bytes, but the tar ends after {left:,}; it was cut off: copy or "
                            "make it again",
                        )
                        return
                    yield member
                self._require_end(tar.offset)
        except (DataError, OSError):
            raise
        except Exception as error:  # tarfile raises a dozen types on damaged headers, RecursionError among them
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            self.problems.append(f"{self.path}: cannot be read as a tar: {reason}")

    def add_problem(self, name: str, what: str) -> None:
        """Note what is wrong with a member."""
        shown = shorten(name).encode("unicode_escape").decode() if not shorten(name).isprintable() else shorten(name)
        self.problems.append(f"{self.path}: member '{shown}': {what}")

    def _require_end(self, offset: int) -> None:
        """Check that the tar really ends here: `tarfile` takes anything that is not a header for the end."""
        self._file.seek(offset)
        mark, rest = self._file.read(_BLOCK), self._file.read(_LARGEST_HEADER)
        if any(mark):
            self.problems.append(f"{self.path}: no tar header at byte {offset:,}; the file is damaged")
        elif len(mark) < _BLOCK:
            self.problems.append(f"{self.path}: the mark at its end is missing; it was cut off: copy or make it again")
        elif any(rest):
            self.problems.append(f"{self.path}: goes on after its end; tars that were joined cannot be read as one")


def find_fault(member: tarfile.TarInfo) -> str | None:
    """Find why a member is not allowed in a tar; None if it is."""
    try:
        require_storable(member.name)
    except DataError as error:
        return str(error)
    if member.name.startswith("/"):
        return "has an absolute name"
    if ".." in member.name.split("/"):
        return "leads out of the tar by '..'"
    if member.size < 0:
        return f"claims a size of {member.size:,} bytes; the file is damaged"
    if member.issym() or member.islnk():
        return f"is a link to '{shorten(member.linkname)}'; tars must hold the images themselves"
    if member.isdev():
        return "is a device or a pipe"
    if member.issparse():
        return "is stored as a sparse file; make the tar without --sparse"
    return None if member.isreg() or member.isdir() else f"is of unknown type {member.type!r}"
