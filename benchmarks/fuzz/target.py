"""A kind of file that strangers give us, and how the program reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Makes what surrounds the file in a new folder, and returns the contents of valid files.
Prepare = Callable[[Path], list[bytes]]
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """name: of the target; form: a key of `mutators.FORMS`; file: name of the file below its folder; prepare: as
    `Prepare`; read: reads the file as the command line does; package: optional one that is needed.
    """

    name: str
    form: str
    file: str
    prepare: Prepare
    read: Read
    package: str = ""
