"""Read arrays of ``.npy`` and ``.npz`` files, whose type and shape are checked before any of their data are read."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.files import open_regular

#: Refuses an array by its type and shape: raises an error that says what is expected.
Check = Callable[[np.dtype[Any], tuple[int, ...]], None]

#: What numpy and zipfile raise on files that are damaged or were made to do harm; RuntimeError: nested too deeply, a
#: password, an unknown compression.
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_array(path: Path, name: str, check: Check) -> NDArray[Any]:
    """Read the array of a ``.npy`` file, or of an ``.npz`` file the one called `name`, or the only one.

    check: sees type and shape first, so that a small file that claims to unpack to gigabytes is refused at once.

    Raises:
        DataError: cannot be read; whatever `check` raises.
    """
    try:
        with _open(path, name) as file:
            check(*_read_header(file))
        with _open(path, name) as file:
            return np.asarray(npy.read_array(file, allow_pickle=False))
    except DAMAGE as error:
        raise DataError(f"{path}: cannot be read as an array: {error}") from None


@contextmanager
def _open(path: Path, name: str) -> Iterator[IO[bytes]]:
    with open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            yield file
            return
    with zipfile.ZipFile(path) as archive:
        names = [entry.removesuffix(".npy") for entry in archive.namelist()]
        found = name if name in names else names[0] if len(names) == 1 else None
        if found is None:
            raise DataError(f"{path}: holds arrays {', '.join(names) or '(none)'}; one called '{name}' is expected")
        with archive.open(f"{found}.npy") as file:
            yield file


def _read_header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    version = npy.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"version {version[0]}.{version[1]} of the format")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers")
    return dtype, shape
