"""Atomic writing of files and folders (unique temporary name, fsync, rename), locks and checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from semiovs.errors import DataError, SemiovsError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = ".tmp-"
#: Host and process in the name of a temporary file.
_OWNER = re.compile(r".*\.tmp-(?P<host>.+)-(?P<process>\d+)-[0-9a-f]{32}", re.DOTALL)
#: `struct flock` of 64-bit Linux: type, whence, start, length, process.
_FLOCK = "hhqqi4x"


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success it is flushed to disk and renamed to `path`, else removed.

    The temporary name holds host, process and a random part, so that two jobs never share one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


@contextmanager
def new_folder(path: Path, refuse: type[SemiovsError] = DataError) -> Iterator[Path]:
    """Provide a temporary folder to fill; it is renamed to `path` at the end, and removed if the body fails.

    refuse: the kind of error to raise if `path` is taken.

    Raises:
        SemiovsError: `path` is there already, and no empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise refuse(f"{path}: is there already and not empty; choose another folder, nothing is replaced")
    partial = path.parent / f".{path.name}-{uuid.uuid4().hex}"  # hidden, so that it is not read as data
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            path.rmdir()
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def parse_json(data: str | bytes) -> Any:
    """Parse JSON of another program or an interrupted one.

    Raises:
        ValueError: no JSON, nested too deeply, or with NaN or Infinity, which JSON does not have.
    """
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def write_staged(directory: Path, data: bytes) -> Path:
    """Write `data` to a new temporary file in `directory`, flushed to disk; renaming the file commits it.

    A file that nobody renames is removed by `sweep_temporaries` once its process is gone.
    """
    temporary = temporary_beside(directory / "staged")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def temporary_beside(path: Path) -> Path:
    """A name for a temporary file beside `path`; `sweep_temporaries` finds it once its process is gone."""
    return path.with_name(f"{path.name}{_TEMPORARY}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}")


def is_temporary(path: Path, *, of: Path) -> bool:
    """Whether `path` is a file that `temporary_beside(of)` named."""
    return path.name.startswith(f"{of.name}{_TEMPORARY}")


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` durable (where the system can)."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON to `path` atomically; what UTF-8 cannot hold (names of files) as JSON's escapes."""
    write_bytes(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: as `open`, and of a pipe or device, which would be waited for.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.ESPIPE, "a pipe or device, no file", str(path))
    return path.open("rb")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    return digest_of(path, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """Checksum of a file in hex digits. algorithm: a name of `hashlib`, such as ``md5``; for comparison, not for
    security.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def open_locked(path: Path) -> int:
    """Open a file for appending and lock it, even if it is replaced meanwhile; closing the descriptor releases the
    lock.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            there, ours = path.stat(), os.fstat(file)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


@contextmanager
def sole_writer(path: Path) -> Iterator[str | None]:
    """Hold the lock of the file `path`; gives None, or who holds it already (as text, perhaps empty).

    The lock belongs to this process alone, not to its children, and ends with it in any case. Where the file system has
    no locks, nothing is held.
    """
    with path.open("a+", encoding="utf-8", errors="replace") as file:
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                yield file.read(200).strip()
                return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield None


def find_writer(path: Path) -> str | None:
    """Who holds the lock `sole_writer` of a file, as text; None if nobody does, or this system cannot tell.

    Nothing is written and no lock is taken. Not for a process that holds the lock itself, which would lose it.
    """
    if fcntl is None or sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    try:
        with path.open("rb") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, *_, process = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
            told = file.read(200).decode("utf-8", errors="replace").strip()
    except OSError:
        return None
    return None if kind == fcntl.F_UNLCK else told or f"process {process}"


def describe_temporary(path: Path) -> tuple[str, bool] | None:
    """Who wrote a temporary file (`temporary_beside`), as text, and whether that process may be at it still; None for
    any other file.
    """
    match = _OWNER.fullmatch(path.name)
    if match is None:
        return None
    ours = match["host"] == socket.gethostname()
    return f"process {match['process']} on {match['host']}", not ours or _is_alive(int(match["process"]))


def sweep_temporaries(directory: Path) -> int:
    """Remove temporary files that a killed process of this host left in `directory`; returns how many.

    Files of processes that are still alive are kept.
    """
    removed = 0
    for path in directory.glob(f"*{_TEMPORARY}{socket.gethostname()}-*"):
        owner = path.name.rsplit("-", 2)[-2]
        if owner.isdigit() and not _is_alive(int(owner)):
            with suppress(OSError):
                path.unlink()
                removed += 1
    return removed


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
