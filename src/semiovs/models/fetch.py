"""Weights of the catalogue: bring a copy here, and prove that a copy is what it should be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.request import Request, urlopen

from semiovs.env import weights_dir
from semiovs.errors import WeightsError
from semiovs.files import atomic_write, sha256_of, write_text
from semiovs.models.pretrained import SUFFIXES
from semiovs.models.weights import checksum_file
from semiovs.models.zoo import Place, Weights, advice, catalogue, locate

Progress = Callable[[int, int], None]

#: Seconds without a byte until a download is given up.
PATIENCE = 30.0
_CHUNK = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Checked:
    """A copy and its checksum.

    status: ``ok`` (as recorded), ``damaged`` (not as recorded), ``unknown`` (nothing is recorded to compare with) or ``absent``;
    recorded: who knows the right checksum.
    """

    name: str
    status: str
    path: Path | None = None
    where: str | None = None
    sha256: str | None = None
    recorded: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "path": None if self.path is None else str(self.path)}


def pull(row: Weights, progress: Progress | None = None) -> tuple[Place, bool]:
    """A copy of the weights, and whether it had to be fetched: a direct link into the weights directory, the hub into its cache.

    Raises:
        WeightsError: it cannot be had; the message says which file to put where.
    """
    place = locate(row)
    if place is not None:
        return place, False
    if row.url is None and row.hub is None:
        raise WeightsError(f"weights '{row.name}' cannot be fetched by a program: {advice(row)}")
    try:
        path = _from_url(row, progress) if row.url is not None else _from_hub(row)
    except WeightsError:
        raise
    except Exception as error:  # the hub's client and the network raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(" .")
        raise WeightsError(f"weights '{row.name}' could not be had: {reason}; {advice(row)}") from None
    return Place(path, "weights directory" if row.url is not None else "hub cache"), True


def _from_hub(row: Weights) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download

    from semiovs.models.hub import hub

    assert row.hub is not None
    with hub():
        found = hf_hub_download(row.hub, row.hub_file) if row.hub_file else snapshot_download(row.hub)
    return Path(found)


def _from_url(row: Weights, progress: Progress | None) -> Path:
    """Download whole, or not at all; the checksum is written beside the file."""
    assert row.url is not None
    assert row.file is not None
    target = weights_dir() / row.file
    with urlopen(Request(row.url, headers={"User-Agent": "semiovs"}), timeout=PATIENCE) as answer:
        expected = int(answer.headers.get("Content-Length") or 0)
        with atomic_write(target) as file:
            size, digest = _copy(answer, file, expected, progress)
            if expected and size != expected:
                raise WeightsError(f"{row.url}: broke off after {size} of {expected} bytes; try again")
            if row.sha256 is not None and digest != row.sha256:
                raise WeightsError(f"{row.url}: has SHA-256 {digest}, not {row.sha256}; nothing was kept")
    write_text(checksum_file(target), f"{digest}  {target.name}\n")
    return target


def _copy(source: IO[bytes], target: IO[bytes], expected: int, progress: Progress | None) -> tuple[int, str]:
    """Bytes copied, and their SHA-256."""
    size, digest = 0, hashlib.sha256()
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        digest.update(chunk)
        size += len(chunk)
        if progress is not None:
            progress(size // _CHUNK, max(expected // _CHUNK, 1))
    return size, digest.hexdigest()


def check(row: Weights) -> Checked:
    """Hash the copy of `row`, if there is one, and compare."""
    place = locate(row)
    if place is None:
        return Checked(row.name, "absent")
    file = place.path
    if file.is_dir():
        file = next((f for f in (file / "model.safetensors", file / "pytorch_model.bin") if f.is_file()), file)
    if file.is_dir():
        return Checked(row.name, "damaged", file, place.where)
    return _checked(row.name, file, place.where, *_recorded(row, place, file))


def strangers() -> list[Checked]:
    """Weight files in the weights directory that no row of the catalogue knows, hashed."""
    folder = weights_dir()
    known = {place.path for row in catalogue().values() if (place := locate(row)) is not None}
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file()) if folder.is_dir() else []
    return [_checked(file.name, file, "weights directory", *_beside(file)) for file in files if file not in known]


def _checked(name: str, file: Path, where: str, wanted: str | None, recorded: str | None) -> Checked:
    found = sha256_of(file)
    status = "unknown" if wanted is None else "ok" if wanted == found else "damaged"
    return Checked(name, status, file, where, found, recorded)


def _recorded(row: Weights, place: Place, file: Path) -> tuple[str | None, str | None]:
    """The right checksum and who knows it: the catalogue, the hub (its cache names files by it), or the note of a download."""
    if place.where == "package":
        return (row.package.sha256, "catalogue") if row.package and row.package.sha256 else (None, None)
    if row.sha256 is not None:
        return row.sha256, "catalogue"
    if place.where == "hub cache" and _SHA256.fullmatch(file.resolve().name):
        return file.resolve().name, "hub"
    return _beside(file)


def _beside(file: Path) -> tuple[str | None, str | None]:
    note = checksum_file(file)
    words = note.read_text("utf-8", errors="replace").split() if note.is_file() else []
    return (words[0], note.name) if words else (None, None)
