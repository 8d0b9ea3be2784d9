"""Folders in object stores, by URLs that fsspec knows (extra `remote`): ``s3://bucket/labels``, ``memory://labels``."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from semiovs.env import offline
from semiovs.errors import DataError, MissingExtraError, SemiovsError

#: Kinds of URLs; the rest of a path that holds one, even after a folder, is the URL. `Path` makes one slash of two.
_URL = re.compile(r"(?:^|/)(?P<kind>abfs|az|file|gcs|gs|memory|s3a?):/+(?P<rest>.*)", re.DOTALL)
#: Kinds that need no network.
_HERE = frozenset({"memory", "file"})
#: Which of them the extra serves; other packages of fsspec have to be installed by name.
_EXTRA = frozenset({"memory", "s3", "s3a"})
#: Without these a store that does not answer is waited for for minutes.
_S3 = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}}


def find_url(path: Path | str) -> str | None:
    """The URL that a path is, or that stands in it after a folder (``root/s3:/bucket``); None for a plain path."""
    match = _URL.search(os.fspath(path))
    if match is None:
        return None
    rest = match["rest"].strip("/")
    return f"{match['kind']}://{'/' if match['kind'] == 'file' else ''}{rest}"


def show_path(path: Path | str) -> str:
    """A path as it was typed: its URL, if it is one."""
    return find_url(path) or os.fspath(path)


class RemoteFolder:
    """Files below a URL. Failures of the store are `OSError`; safe in threads, and in forked and spawned processes.

    Raises:
        DataError: `SEMIOVS_OFFLINE` is set, and the URL leads to a network; MissingExtraError: the package for it is
        missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._kind, _, self._root = url.partition("://")
        self._opened: tuple[int, Any] = (0, None)
        if offline() and self._kind not in _HERE:
            raise DataError(
                f"{url}: SEMIOVS_OFFLINE is set; copy it to a folder of this machine, or unset the variable"
            )
        _ = self._files

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": (0, None)}

    def __str__(self) -> str:
        return self.url

    def path(self, name: str) -> str:
        """URL of a file."""
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        with _translate(self.path(name)):
            return bytes(self._files.cat_file(self._place(name)))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Bytes of a file from `offset` on; fewer where it ends before."""
        with _translate(self.path(name)):
            return bytes(self._files.cat_file(self._place(name), start=offset, end=offset + size)) if size else b""

    def sizes(self) -> dict[str, int]:
        """Bytes of all files by name; empty if there is no such folder."""
        root = self._place("").rstrip("/")
        with _translate(self.url):
            self._files.invalidate_cache()
            found = self._files.find(root, detail=True)
            start = self._files._strip_protocol(root).rstrip("/") + "/"
        return {name.removeprefix(start): int(facts["size"] or 0) for name, facts in found.items()}

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading from front to back."""
        with _translate(self.path(name)):
            found: BinaryIO = self._files.open(self._place(name), "rb", block_size=2**23)
            return found

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """A local file to fill, which then becomes the file of this name as a whole; nothing if the body fails."""
        with tempfile.TemporaryDirectory(prefix="semiovs-") as folder:
            temporary = Path(folder) / "part"
            with temporary.open("wb") as file:
                yield file
            with _translate(self.path(name)):
                self._files.makedirs(self._place(name).rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(temporary), self._place(name))

    def remove(self, name: str) -> None:
        """Remove a file."""
        with _translate(self.path(name)):
            self._files.rm_file(self._place(name))

    def sweep(self, place: str) -> None:
        """Nothing: files are sent as a whole, and are not there before."""

    def _place(self, name: str) -> str:
        root = self._root if self._kind == "file" or self._kind not in _HERE else f"/{self._root}"
        return f"{root}/{name}"

    @property
    def _files(self) -> Any:
        """The file system of fsspec, one a process: connections do not survive a fork."""
        if self._opened[0] != os.getpid():
            with _translate(self.url):
                self._opened = (os.getpid(), _open_files(self._kind))
        return self._opened[1]


def _open_files(kind: str) -> Any:
    try:
        import fsspec

        return fsspec.filesystem(kind, **(_S3 if kind.startswith("s3") else {}))
    except ImportError as error:
        reason = next(iter(str(error).splitlines()), "")
        advice = "pip install 'semiovs[remote]'" if kind in _EXTRA or "fsspec" in reason else f"pip install: {reason}"
        raise MissingExtraError(f"{kind}:// needs a package that is not installed; {advice}") from None


@contextmanager
def _translate(place: str) -> Iterator[None]:
    """Turn what the libraries below fsspec raise into OSErrors with a reason of one line."""
    try:
        yield
    except (SemiovsError, FileNotFoundError):
        raise
    except Exception as error:  # of s3fs, botocore, aiohttp, …, which have no common base
        reason = next(iter(str(getattr(error, "strerror", None) or error).splitlines()), "") or type(error).__name__
        if "credentials" in reason.lower():
            reason += " (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
        raise OSError(getattr(error, "errno", None) or errno.EIO, reason, place) from None
