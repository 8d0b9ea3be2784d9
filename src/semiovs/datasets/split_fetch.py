"""Fetch published lists from their repositories, a folder or an archive. Only exact copies are accepted."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.error import HTTPError, URLError

from semiovs.datasets.split_cache import SplitCache
from semiovs.datasets.splits import Catalogue, PublishedList, sha256_hex
from semiovs.download import DownloadError, Progress, read_url
from semiovs.env import explain_offline
from semiovs.errors import DataError

#: The longest published list has 2 MB; whatever is longer is none.
LARGEST = 8 * 2**20
#: Largest number of members of an archive, and of their bytes together (against decompression bombs).
_MOST, _WHOLE = 200_000, 2 * 2**30
#: Bytes of the names and attributes of one member of a tar.
_HEADER = 2**20
_FURTHER = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


@dataclass
class FetchResult:
    """Result of `fetch_lists`.

    added: new lists; here: lists that were in the cache already; refused: (file, reason) of files with the name of a
    list but other content, and of suspicious members of an archive; missing: lists that are still not in the cache.
    """

    added: list[str] = field(default_factory=list)
    here: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        refused = [{"file": name, "reason": reason} for name, reason in self.refused]
        return {"added": self.added, "here": self.here, "refused": refused, "missing": self.missing}


def fetch_lists(
    cache: SplitCache, wanted: Sequence[PublishedList], source: Path | None = None, progress: Progress | None = None
) -> FetchResult:
    """Add the wanted lists that are missing to the cache.

    source: a folder (such as a clone of a repository) or an archive (tar or zip), all of whose copies are checked;
    None: download from the repositories.

    Raises:
        DataError: the source cannot be read, or the network may not or cannot be used.
    """
    absent = cache.missing(wanted)
    done = FetchResult(here=[one.name for one in wanted if one not in absent])
    taken: dict[str, list[str]] = {}
    try:
        if source is None:
            _download_lists(cache.known, absent, taken, done, progress)
        else:
            _take_from_files(_iterate_files(source, done), cache.known, wanted, taken, done, progress)
    finally:  # what came before a connection broke is kept
        added = {one.name: taken[one.name] for one in absent if one.name in taken}
        if added:
            cache.add(added)
    done.added = list(added)
    done.missing = [one.name for one in absent if one.name not in added]
    return done


def _take_from_files(
    files: Iterator[tuple[str, bytes]],
    known: Catalogue,
    wanted: Sequence[PublishedList],
    taken: dict[str, list[str]],
    done: FetchResult,
    progress: Progress | None,
) -> None:
    """Take lists from files (path, content); files are matched to lists by the end of their path."""
    by_path: dict[str, list[PublishedList]] = {}
    for one in known.lists.values():
        by_path.setdefault(one.path, []).append(one)
    names = {one.name for one in wanted}
    for name, data in files:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        meant = next((by_path[p] for i in range(len(parts)) if (p := "/".join(parts[i:])) in by_path), [])
        fitting = [one for one in meant if one.sha256 == sha256_hex(data)]
        taken |= {one.name: one.lines(data) for one in fitting if one.name in names and one.name not in taken}
        if not fitting and (asked := [one for one in meant if one.name in names]):
            done.refused.append((name, _describe_difference(asked[0], data)))
        if progress is not None:
            progress(len(taken), len(names))


def _describe_difference(one: PublishedList, data: bytes) -> str:
    try:
        one.lines(data)
    except DataError as error:
        return str(error)
    return ""


def _iterate_files(source: Path, done: FetchResult) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        return _read_folder(source)
    if not source.is_file():
        raise DataError(f"{source}: no such folder or archive")
    if zipfile.is_zipfile(source):
        return _read_zip(source, done)
    return _read_tar(source, done)


def _read_folder(source: Path) -> Iterator[tuple[str, bytes]]:
    for directory, inner, names in os.walk(source):
        inner[:] = sorted(name for name in inner if name != ".git")
        for name in sorted(names):
            path = Path(directory) / name
            if path.suffix == ".txt" and path.is_file() and path.stat().st_size <= LARGEST:
                yield path.relative_to(source).as_posix(), path.read_bytes()


def _read_tar(source: Path, done: FetchResult) -> Iterator[tuple[str, bytes]]:
    """Yield members from memory; nothing is written to the paths in the archive."""
    try:
        with tarfile.open(source, "r|*", tarinfo=_BoundedMember) as archive:
            bounds = _ArchiveBounds(source)
            for member in archive:
                bounds.count(member.size)
                if member.isdir():
                    if reason := _explain_bad_name(member.name):
                        done.refused.append((member.name, reason))
                    continue
                reason = _explain_bad_name(member.name) or ("" if member.isreg() else "a link or a device")
                reason = reason or _explain_bad_size(member.name, member.size)
                if reason:
                    done.refused.append((_shorten_name(member.name), reason))
                elif member.name.endswith(".txt"):
                    file = archive.extractfile(member)
                    yield member.name, file.read() if file else b""
    except DataError:
        raise
    except Exception as error:  # damaged bytes raise a dozen types, TypeError among them
        raise DataError(f"{source}: cannot be read as an archive of lists: {error}") from None


def _read_zip(source: Path, done: FetchResult) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(source) as archive:
            bounds = _ArchiveBounds(source)
            for member in archive.infolist():
                bounds.count(member.file_size)
                link = (member.external_attr >> 28) == 0o12
                reason = _explain_bad_name(member.filename) or ("a link or a device" if link else "")
                reason = reason or _explain_bad_size(member.filename, member.file_size)
                if reason:
                    done.refused.append((_shorten_name(member.filename), reason))
                elif member.filename.endswith(".txt"):
                    with archive.open(member) as file:  # the declared size may be wrong
                        yield member.filename, file.read(LARGEST + 1)
    except DataError:
        raise
    except Exception as error:  # as above
        raise DataError(f"{source}: cannot be read as an archive of lists: {error}") from None


class _BoundedMember(tarfile.TarInfo):
    """A member whose further headers, which `tarfile` reads into memory whatever their size, are bounded."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.size > _HEADER and found.type in _FURTHER:
            raise tarfile.ReadError(f"a header of {found.size:,} bytes")
        return found


class _ArchiveBounds:
    """Raises DataError for archives with too many members or bytes."""

    def __init__(self, source: Path) -> None:
        self.source, self.members, self.bytes = source, 0, 0

    def count(self, size: int) -> None:
        self.members, self.bytes = self.members + 1, self.bytes + max(size, 0)
        if self.members > _MOST or self.bytes > _WHOLE:
            raise DataError(
                f"{self.source}: more than {_MOST:,} members or {_WHOLE >> 30} GB; no archive of lists is so large"
            )


def _explain_bad_name(name: str) -> str:
    """Why a member's name is refused, or ""."""
    parts = name.replace("\\", "/").split("/")
    if "\0" in name or not name.isprintable():
        return "a name with control characters"
    if name.startswith(("/", "\\")) or ":" in parts[0]:
        return "an absolute path"
    return "a path that leads out of the archive" if ".." in parts else ""


def _explain_bad_size(name: str, size: int) -> str:
    return f"{size:,} bytes, longer than any list" if size > LARGEST and name.endswith(".txt") else ""


def _shorten_name(name: str) -> str:
    return repr(name)[1:-1][:200]


def _download_lists(
    known: Catalogue,
    absent: Sequence[PublishedList],
    taken: dict[str, list[str]],
    done: FetchResult,
    progress: Progress | None,
) -> None:
    if absent and (switched_off := explain_offline()):
        raise DataError(f"{switched_off}, so nothing is downloaded; {_explain_offline_way(known, absent)}")
    for one in absent:
        reasons = []
        for key in one.repositories:
            address = known.repositories[key].url(one.path)
            try:
                taken[one.name] = one.lines(read_url(address, most=LARGEST))
                break
            except HTTPError as error:  # the file, not the network: another repository may have it
                reasons.append((address, f"HTTP {error.code}"))
            except (DataError, DownloadError) as error:
                reasons.append((address, str(error)))
            except (URLError, HTTPException, OSError) as error:
                reason = getattr(error, "reason", None) or error
                raise DataError(f"{address}: no connection ({reason}); {_explain_offline_way(known, absent)}") from None
        if one.name not in taken:
            done.refused += reasons
        if progress is not None:
            progress(len(taken), len(absent))


def _explain_offline_way(known: Catalogue, absent: Sequence[PublishedList]) -> str:
    """How to get lists without network, for error messages."""
    keys = dict.fromkeys(one.repositories[0] for one in absent)
    clones = ", ".join(f"{known.repositories[key].repository} at {known.repositories[key].commit[:7]}" for key in keys)
    return f"on a machine with network get a clone or archive of {clones}, then: semiovs splits fetch --from IT"
