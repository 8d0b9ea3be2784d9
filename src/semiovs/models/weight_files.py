"""Local copies of the weights in the catalogue: fetch them, and verify their checksums."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.download import DownloadError, Progress, download
from semiovs.env import offline, weights_dir
from semiovs.errors import WeightsError
from semiovs.files import sha256_of, write_text
from semiovs.models.weight_catalog import SUFFIXES, Place, Weights, catalogue, explain_download, locate
from semiovs.models.weights import checksum_file

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CheckedWeights:
    """A copy and its checksum.

    status: ``ok`` (as recorded), ``damaged`` (not as recorded), ``unknown`` (nothing is recorded to compare with) or
    ``absent``; recorded: who knows the right checksum.
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
    """A copy of the weights, and whether it had to be fetched: a direct link into the weights directory, the hub into
    its cache.

    Raises:
        WeightsError: it cannot be had; the message says which file to put where.
    """
    place = locate(row)
    if place is not None:
        return place, False
    if row.url is None and row.hub is None:
        raise WeightsError(f"weights '{row.name}' cannot be fetched by a program: {explain_download(row)}")
    if offline():
        raise WeightsError(f"weights '{row.name}' are not fetched: SEMIOVS_OFFLINE is set; {explain_download(row)}")
    try:
        path = _from_url(row, progress) if row.url is not None else _from_hub(row)
    except DownloadError as error:
        raise WeightsError(str(error)) from None
    except Exception as error:  # the hub's client and the network raise many kinds
        from semiovs.models.hub import explain_failure

        reason = explain_failure(error)
        raise WeightsError(f"weights '{row.name}' could not be had: {reason}; {explain_download(row)}") from None
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
    digest = download(row.url, target, sha256=row.sha256, progress=progress)
    write_text(checksum_file(target), f"{digest}  {target.name}\n")
    return target


def check(row: Weights) -> CheckedWeights:
    """Hash the copy of `row`, if there is one, and compare."""
    place = locate(row)
    if place is None:
        return CheckedWeights(row.name, "absent")
    file = place.path
    if file.is_dir():
        file = next((f for f in (file / "model.safetensors", file / "pytorch_model.bin") if f.is_file()), file)
    if file.is_dir():
        return CheckedWeights(row.name, "damaged", file, place.where)
    return _compare(row.name, file, place.where, *_find_recorded(row, place, file))


def find_unlisted() -> list[CheckedWeights]:
    """Weight files in the weights directory that no row of the catalogue knows, hashed."""
    folder = weights_dir()
    known = {place.path for row in catalogue().values() if (place := locate(row)) is not None}
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file()) if folder.is_dir() else []
    return [_compare(file.name, file, "weights directory", *_read_note(file)) for file in files if file not in known]


def _compare(name: str, file: Path, where: str, wanted: str | None, recorded: str | None) -> CheckedWeights:
    found = sha256_of(file)
    status = "unknown" if wanted is None else "ok" if wanted == found else "damaged"
    return CheckedWeights(name, status, file, where, found, recorded)


def _find_recorded(row: Weights, place: Place, file: Path) -> tuple[str | None, str | None]:
    """The right checksum and who knows it: the catalogue, the hub (its cache names files by it), or the note of a
    download.
    """
    if place.where == "package":
        return (row.package.sha256, "catalogue") if row.package and row.package.sha256 else (None, None)
    if row.sha256 is not None:
        return row.sha256, "catalogue"
    if place.where == "hub cache" and _SHA256.fullmatch(file.resolve().name):
        return file.resolve().name, "hub"
    return _read_note(file)


def _read_note(file: Path) -> tuple[str | None, str | None]:
    note = checksum_file(file)
    words = note.read_text("utf-8", errors="replace").split() if note.is_file() else []
    return (words[0], note.name) if words else (None, None)
