"""Index the members of a tar in one pass over its headers, and report everything that a tar of images must not contain.

Layout as WebDataset's (https://github.com/webdataset/webdataset): members that share the path up to the first dot of
the last part are one sample, what follows that dot is the field. The picture is the field ``jpg``, ``png``, …; ``json``
may tell ``source`` (or ``url``) and ``license``.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from semiovs.errors import DataError
from semiovs.files import parse_json
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.record_lines import require_storable, shorten

#: Largest image and largest sidecar, in bytes.
LARGEST, LARGEST_JSON = 1 << 29, 1 << 20
#: Largest header of one member, in bytes; longer ones are refused as hostile.
_LARGEST_HEADER = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_PACKED = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d"}


@dataclass(frozen=True)
class TarIndex:
    """size, mtime_ns: of the tar when it was read; members: name -> (offset, bytes) of every image file, pictures of
    samples first in order by name, then their other fields; pictures: how many of them are pictures; about: name ->
    source and license.
    """

    size: int
    mtime_ns: int
    members: dict[str, tuple[int, int]]
    pictures: int
    about: dict[str, dict[str, str]]


def index_tar(path: Path) -> TarIndex:
    """Read all headers of a tar; nothing is unpacked.

    Raises:
        DataError: unreadable, packed, cut off, without images, or with members that a tar of images must not hold:
        absolute names,
            ``..``, links, devices, sparse files, names that occur twice or differ in case alone, names that cannot be
            stored, members larger than `LARGEST`. All of them are named.
    """
    try:
        with path.open("rb") as file:
            return _TarScan(path, file).run()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


class _BoundedFile:
    """A file for `tarfile` that refuses large reads: tarfile would read headers of any size into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


@dataclass
class _TarScan:
    path: Path
    file: BinaryIO
    problems: list[str] = field(default_factory=list)
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def run(self) -> TarIndex:
        status = os.fstat(self.file.fileno())
        self._require_plain()
        for member in self._read_members(status.st_size):
            self._take_member(member)
        pictures = self._choose_pictures()
        if not pictures and not self.problems:
            self.problems.append(f"{self.path}: no images in this tar ({', '.join(IMAGE_SUFFIXES)})")
        if self.problems:
            raise DataError.of(self.problems, f"{self.path}: {len(self.problems)} problems in this tar")
        members = {name: self.images[name] for name in pictures} | self.images
        keys = {name: split_sample(name)[0] for name in pictures}
        about = {name: self.about[key] for name, key in keys.items() if key in self.about}
        return TarIndex(status.st_size, status.st_mtime_ns, members, len(pictures), about)

    def _require_plain(self) -> None:
        start = self.file.read(6)
        self.file.seek(0)
        for magic, command in _PACKED.items():
            if start.startswith(magic):
                raise DataError(
                    f"{self.path}: a packed tar can only be read from its start; unpack it once: {command} {self.path}"
                )

    def _read_members(self, size: int) -> Iterator[tarfile.TarInfo]:
        """Yield all members in order; an error that ends the pass early becomes a problem."""
        try:
            with tarfile.open(fileobj=_BoundedFile(self.file), mode="r:") as tar:  # type: ignore[call-overload]
                before = -1
                while (member := tar.next()) is not None:
                    tar.members.clear()  # it would keep them all
                    if tar.offset <= before:
                        raise tarfile.ReadError("a member that ends before it begins")
                    before = tar.offset
                    if member.offset_data + (member.size if member.isreg() else 0) > size:
                        self._add_problem(
                            member.name,
                            f"claims {member.size:,} bytes, but the tar ends after {size - member.offset_data:,}; "
                            "it was cut off: copy or make it again",
                        )
                        return
                    yield member
                self._require_end(tar.offset)
        except (DataError, OSError):
            raise
        except Exception as error:  # tarfile raises a dozen types on damaged headers, RecursionError among them
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            self.problems.append(f"{self.path}: cannot be read as a tar: {reason}")

    def _require_end(self, offset: int) -> None:
        """Check that the tar really ends here: `tarfile` takes anything that is not a header for the end."""
        self.file.seek(offset)
        mark, rest = self.file.read(_BLOCK), self.file.read(_LARGEST_HEADER)
        if any(mark):
            self.problems.append(f"{self.path}: no tar header at byte {offset:,}; the file is damaged")
        elif len(mark) < _BLOCK:
            self.problems.append(f"{self.path}: the mark at its end is missing; it was cut off: copy or make it again")
        elif any(rest):
            self.problems.append(f"{self.path}: goes on after its end; tars that were joined cannot be read as one")

    def _take_member(self, member: tarfile.TarInfo) -> None:
        what = _find_fault(member)
        if what is not None:
            self._add_problem(member.name, what)
            return
        name = posixpath.normpath(member.name)
        if member.isdir() or any(part.startswith(".") for part in name.split("/")):
            return
        first = self.seen.setdefault(name.casefold(), name)
        if first is not name:
            twice = first == name
            self._add_problem(
                name, "is there twice" if twice else f"differs from '{shorten(first)}' in upper and lower case alone"
            )
            return
        self._record_member(name, member)

    def _record_member(self, name: str, member: tarfile.TarInfo) -> None:
        if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            if member.size > LARGEST:
                self._add_problem(name, f"{member.size:,} bytes; an image in a tar has at most {LARGEST:,}")
            self.images[name] = (member.offset_data, member.size)
        elif split_sample(name)[1] == "json":
            if member.size > LARGEST_JSON:
                self._add_problem(name, f"{member.size:,} bytes of JSON; a sidecar has at most {LARGEST_JSON:,}")
                return
            self.file.seek(member.offset_data)
            try:
                self.about[split_sample(name)[0]] = _parse_sidecar(self.file.read(member.size))
            except (ValueError, RecursionError, DataError) as error:
                self._add_problem(name, f"cannot be read as JSON: {error}")

    def _choose_pictures(self) -> list[str]:
        """Choose the pictures among the images, in order; two in one sample are a problem.

        ``0001.jpg`` is the picture of 0001, ``0001.seg.png`` beside it is not. Where such a field occurs beside no
        picture, as in ``IMG.2020.jpg``, the dots are part of the name.
        """
        plain: dict[str, str] = {}
        for name in self.images:
            key, ending = split_sample(name)
            if "." not in ending and (first := plain.setdefault(key, name)) != name:
                self._add_problem(
                    name, f"is in one sample with '{shorten(first)}'; names without suffix must be unique"
                )
        dotted = [name for name in self.images if "." in split_sample(name)[1]]
        fields = {split_sample(name)[1] for name in dotted if split_sample(name)[0] in plain}
        alone = [name for name in dotted if split_sample(name)[0] not in plain and split_sample(name)[1] not in fields]
        return sorted([*plain.values(), *alone], key=lambda name: posixpath.splitext(name)[0])

    def _add_problem(self, name: str, what: str) -> None:
        shown = shorten(name).encode("unicode_escape").decode() if not shorten(name).isprintable() else shorten(name)
        self.problems.append(f"{self.path}: member '{shown}': {what}")


def split_sample(name: str) -> tuple[str, str]:
    """Split the name of a member into (sample, field in lower case) at the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _find_fault(member: tarfile.TarInfo) -> str | None:
    """Find why a member is not allowed in a tar of images; None if it is."""
    try:
        require_storable(member.name)
    except DataError as error:
        return str(error)
    if member.name.startswith("/"):
        return "has an absolute name"
    if ".." in member.name.split("/"):
        return "leads out of the tar by '..'"
    if member.issym() or member.islnk():
        return f"is a link to '{shorten(member.linkname)}'; tars must hold the images themselves"
    if member.isdev():
        return "is a device or a pipe"
    if member.issparse():
        return "is stored as a sparse file; make the tar without --sparse"
    return None if member.isreg() or member.isdir() else f"is of unknown type {member.type!r}"


def _parse_sidecar(data: bytes) -> dict[str, str]:
    row = parse_json(data)
    if not isinstance(row, dict):
        raise ValueError("expected an object")
    found = {"source": row.get("source") or row.get("url"), "license": row.get("license")}
    texts = {key: value for key, value in found.items() if isinstance(value, str) and value}
    for text in texts.values():
        require_storable(text)
    return texts
