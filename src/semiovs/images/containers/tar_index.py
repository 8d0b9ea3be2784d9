"""Index the members of a tar in one pass over its headers, and report everything that a tar of images must not contain.

Layout as WebDataset's (https://github.com/webdataset/webdataset): members that share the path up to the first dot of
the last part are one sample, what follows that dot is the field. The picture is the field ``jpg``, ``png``, …; ``json``
may tell ``source`` (or ``url``) and ``license``.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from semiovs.errors import DataError
from semiovs.files import parse_json
from semiovs.images.containers.tar_members import TarMembers, find_fault
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.record_lines import require_storable, shorten

#: Largest image and largest sidecar, in bytes.
LARGEST, LARGEST_JSON = 1 << 29, 1 << 20
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
            members = TarMembers(path, file, os.fstat(file.fileno()).st_size)
            return _TarScan(path, file, members).run()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


@dataclass
class _TarScan:
    path: Path
    file: BinaryIO
    members: TarMembers
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def run(self) -> TarIndex:
        status = os.fstat(self.file.fileno())
        self._require_plain()
        for member in self.members:
            self._take_member(member)
        pictures = self._choose_pictures()
        if not pictures and not self.members.problems:
            self.members.problems.append(f"{self.path}: no images in this tar ({', '.join(IMAGE_SUFFIXES)})")
        if self.members.problems:
            raise DataError.of(self.members.problems, f"{self.path}: {len(self.members.problems)} problems in this tar")
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

    def _take_member(self, member: tarfile.TarInfo) -> None:
        what = find_fault(member)
        if what is not None:
            self.members.add_problem(member.name, what)
            return
        name = posixpath.normpath(member.name)
        if member.isdir() or any(part.startswith(".") for part in name.split("/")):
            return
        first = self.seen.setdefault(name.casefold(), name)
        if first is not name:
            twice = first == name
            self.members.add_problem(
                name, "is there twice" if twice else f"differs from '{shorten(first)}' in upper and lower case alone"
            )
            return
        self._record_member(name, member)

    def _record_member(self, name: str, member: tarfile.TarInfo) -> None:
        if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            if member.size > LARGEST:
                self.members.add_problem(name, f"{member.size:,} bytes; an image in a tar has at most {LARGEST:,}")
            self.images[name] = (member.offset_data, member.size)
        elif split_sample(name)[1] == "json":
            if member.size > LARGEST_JSON:
                self.members.add_problem(name, f"{member.size:,} bytes of JSON; a sidecar has at most {LARGEST_JSON:,}")
                return
            self.file.seek(member.offset_data)
            try:
                self.about[split_sample(name)[0]] = _parse_sidecar(self.file.read(member.size))
            except (ValueError, RecursionError, DataError) as error:
                self.members.add_problem(name, f"cannot be read as JSON: {error}")

    def _choose_pictures(self) -> list[str]:
        """Choose the pictures among the images, in order; two in one sample are a problem.

        ``0001.jpg`` is the picture of 0001, ``0001.seg.png`` beside it is not. Where such a field occurs beside no
        picture, as in ``IMG.2020.jpg``, the dots are part of the name.
        """
        plain: dict[str, str] = {}
        for name in self.images:
            key, ending = split_sample(name)
            if "." not in ending and (first := plain.setdefault(key, name)) != name:
                self.members.add_problem(
                    name, f"is in one sample with '{shorten(first)}'; names without suffix must be unique"
                )
        dotted = [name for name in self.images if "." in split_sample(name)[1]]
        fields = {split_sample(name)[1] for name in dotted if split_sample(name)[0] in plain}
        alone = [name for name in dotted if split_sample(name)[0] not in plain and split_sample(name)[1] not in fields]
        return sorted([*plain.values(), *alone], key=lambda name: posixpath.splitext(name)[0])


def split_sample(name: str) -> tuple[str, str]:
    """Split the name of a member into (sample, field in lower case) at the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _parse_sidecar(data: bytes) -> dict[str, str]:
    row = parse_json(data)
    if not isinstance(row, dict):
        raise ValueError("expected an object")
    found = {"source": row.get("source") or row.get("url"), "license": row.get("license")}
    texts = {key: value for key, value in found.items() if isinstance(value, str) and value}
    for text in texts.values():
        require_storable(text)
    return texts
