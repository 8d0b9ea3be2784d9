"""Images in containers: members of tars and rows of Hugging Face data sets; their paths continue inside the container.

``shards/000012.tar/a/0001.jpg`` is a member of a tar, ``hf:beans:train:image/00000012`` a row of a data set. Such a
path may stand wherever the path of an image may: in lists, in `Record.image`, on the command line. Nothing is unpacked
to disk.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from semiovs.errors import DataError
from semiovs.files import open_regular
from semiovs.images.containers import CHANGED, SCHEME, TAR

_ROW = re.compile("[0-9]{8,}")


class Container(Protocol):
    """A file or data set that holds images by name; safe to use in many threads and in forked or spawned processes."""

    def names(self) -> Sequence[str]:
        """Names of the images, in order."""

    def __contains__(self, name: object, /) -> bool:
        """Whether something of this name can be read."""

    def read(self, name: str) -> bytes:
        """The encoded image.

        Raises:
            DataError: no such image, or the container changed after it was opened.
        """

    def describe(self, name: str) -> Mapping[str, str]:
        """`source` and `license` of an image, where the container has them."""

    def identity(self, name: str) -> str:
        """A text that changes when the bytes of the image do."""


#: Containers that this process has opened, or the error of opening them.
_open: dict[str, Container | DataError] = {}


def open_container(path: Path | str) -> Container:
    """Open the tar at a path, or the data set of a path like ``ROOT/hf:NAME:SPLIT:COLUMN``; each once per process.

    Raises:
        DataError: it cannot be read, or holds what it must not (all of that is named); MissingExtraError: `datasets` is
        missing.
    """
    text = os.fspath(path)
    found = _open.get(text)
    if found is None:
        try:
            found = _open_new(text)
        except DataError as error:
            found = error
        _open[text] = found
    if isinstance(found, DataError):
        raise DataError(str(found), found.problems)
    return found


def register_container(path: Path | str, opened: Container) -> None:
    """Let `open_container` return `opened` for this path."""
    _open[os.fspath(path)] = opened


def forget_container(path: Path | str) -> None:
    """Close a container; it is opened anew next time."""
    _open.pop(os.fspath(path), None)


def _open_new(text: str) -> Container:
    if text.lower().endswith(TAR) and not _is_dataset_path(text):
        from semiovs.images.containers.tar_files import TarImages

        return TarImages.open(Path(text))
    from semiovs.images.containers.hugging_face import open_rows

    return open_rows(text)


def _is_dataset_path(text: str) -> bool:
    return text.startswith(SCHEME) or f"/{SCHEME}" in text


def split_path(path: Path | str) -> tuple[str, str] | None:
    """Split a path that continues inside a container into (container, name in it); None for any other path."""
    text = os.fspath(path)
    if _is_dataset_path(text):
        outer, _, name = text.rpartition("/")
        return (outer, name) if _is_dataset_path(outer) and _ROW.fullmatch(name) else None
    low = text.lower()
    end = low.find(f"{TAR}/")
    while end >= 0:
        outer = text[: end + len(TAR)]
        if outer in _open or os.path.isfile(outer):  # noqa: PTH113 (answers False where pathlib raises)
            return outer, text[end + len(TAR) + 1 :]
        end = low.find(f"{TAR}/", end + 1)
    return None


def find_stored(path: Path) -> Path | io.BytesIO:
    """Find what to open: the path itself, or the bytes of an image inside a container.

    Raises:
        DataError: the container cannot be read, or has no such image.
    """
    parts = split_path(path)
    if parts is None:
        return path
    try:
        return io.BytesIO(open_container(parts[0]).read(parts[1]))
    except DataError as error:
        if error.kind == CHANGED:
            forget_container(parts[0])
        raise


def read_bytes(path: Path) -> bytes:
    """Read the encoded image from a file or a container.

    Raises:
        DataError: missing or unreadable.
    """
    try:
        found = find_stored(path)
        if isinstance(found, io.BytesIO):
            return found.getvalue()
        with open_regular(found) as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def image_exists(path: Path) -> bool:
    """Whether there is such a file, or such an image in its container.

    Raises:
        DataError: the container cannot be read.
    """
    parts = split_path(path)
    if parts is not None:
        return parts[1] in open_container(parts[0])
    try:
        return path.exists()
    except OSError:  # a name that no file system takes, or a folder that may not be looked into
        return False


def identify(path: Path) -> str:
    """A text that changes when the bytes of the image do: path, size, time of the last change, place in the container.

    Raises:
        OSError: no such file; DataError: the container cannot be read, or has no such image.
    """
    parts = split_path(path)
    if parts is not None:
        return open_container(parts[0]).identity(parts[1])
    status = path.stat()
    return f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"  # noqa: PTH100 (symlinks stay)
