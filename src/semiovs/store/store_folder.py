"""The folder of a store, on a disk or by a URL: whole files, and ranges of large ones."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from semiovs.files import atomic_write, open_regular, sweep_temporaries
from semiovs.object_store import RemoteFolder, find_url

#: Files of every store.
META, INDEX = "meta.json", "index.jsonl"
#: Files that a process holds open at most.
_OPEN = 128


class StoreFolder(Protocol):
    """Files by name below a folder or URL; each method raises OSError (FileNotFoundError) where it fails."""

    def path(self, name: str) -> str:
        """Path or URL of a file, for messages."""

    def read(self, name: str) -> bytes:
        """The bytes of a file."""

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Bytes of a file from `offset` on; fewer where it ends before."""

    def sizes(self) -> dict[str, int]:
        """Bytes of all files by name; empty if there is no such folder."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""

    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file to fill; it gets its name as a whole at the end, and is removed if the body fails."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def sweep(self, place: str) -> None:
        """Remove what killed processes have left in a folder below."""


def open_folder(root: Path | str) -> StoreFolder:
    """The folder at a path or URL; ``file://`` is a path.

    Raises:
        DataError, MissingExtraError: as `RemoteFolder`.
    """
    url = find_url(root)
    if url is not None and url.startswith("file://"):
        return LocalFolder(Path(url.removeprefix("file://")))
    return LocalFolder(Path(root)) if url is None else RemoteFolder(url)


class _Handle:
    """An open file that is closed once nobody reads it any more."""

    def __init__(self, path: Path) -> None:
        self.number = -1
        with open_regular(path) as file:
            self.number = os.dup(file.fileno())

    def __del__(self) -> None:
        if self.number >= 0:
            with suppress(OSError):
                os.close(self.number)


class LocalFolder:
    """A folder on a disk. One open file a process and shard, read by offset, so that threads and forked processes share
    no position.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: OrderedDict[str, _Handle] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]

    def path(self, name: str) -> str:
        """Path of a file."""
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        with open_regular(self.root / name) as file:
            return file.read()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Bytes of a file from `offset` on; fewer where it ends before."""
        if not hasattr(os, "pread"):  # Windows: no reading at an offset, so no file that threads share
            with open_regular(self.root / name) as file:
                file.seek(offset)
                return file.read(size)
        with self._lock:
            handle = self._open.pop(name, None) or _Handle(self.root / name)
            self._open[name] = handle
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return _read_at(handle.number, offset, size)

    def sizes(self) -> dict[str, int]:
        """Bytes of all files by name; empty if there is no such folder."""
        return {path.relative_to(self.root).as_posix(): size for path, size in _list_sizes(self.root)}

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        return open_regular(self.root / name)

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        """A file to fill; it gets its name as a whole at the end, and is removed if the body fails."""
        with atomic_write(self.root / name) as file:
            yield file

    def remove(self, name: str) -> None:
        """Remove a file, and its folder where that is empty then."""
        (self.root / name).unlink()
        with suppress(OSError):
            (self.root / name).parent.rmdir()

    def sweep(self, place: str) -> None:
        """Remove what killed processes of this machine have left in a folder below."""
        sweep_temporaries(self.root / place)


def _read_at(number: int, offset: int, size: int) -> bytes:
    data = os.pread(number, size, offset)
    while len(data) < size and (more := os.pread(number, size - len(data), offset + len(data))):
        data += more
    return data


def _list_sizes(root: Path) -> Iterator[tuple[Path, int]]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            with suppress(OSError):
                yield path, path.stat().st_size
