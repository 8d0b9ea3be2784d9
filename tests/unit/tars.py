"""Tars made by tests: of the images of a folder, and hostile ones."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

Member = tuple[str, bytes] | tuple[tarfile.TarInfo, bytes]


def picture(seed: int = 0, form: str = "PNG") -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)).save(encoded, form)
    return encoded.getvalue()


def write(path: Path, members: Iterable[Member], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def of_folder(folder: Path, path: Path) -> Path:
    return write(path, ((p.relative_to(folder).as_posix(), p.read_bytes()) for p in sorted(folder.rglob("*.png"))))


def special(name: str, kind: bytes, target: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def attribute(name: str, **attributes: str) -> Member:
    """A member with PAX attributes, which win over the header."""
    info = tarfile.TarInfo(name)
    info.pax_headers = attributes
    return info, b"x"


def patched(path: Path, change: Callable[[bytearray], None]) -> Path:
    """A tar whose first header was changed after it was made; the checksum is made to hold again."""
    data = bytearray(path.read_bytes())
    change(data)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    return path
