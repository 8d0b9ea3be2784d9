"""An exported file: its checksums, whether it loads, and whether the run still holds its model."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

from semiovs.engine.run import find_run
from semiovs.errors import MissingExtraError, WeightsError
from semiovs.export.checksums import read_recorded
from semiovs.files import sha256_of
from semiovs.integrity.inspection import Inspection, type_command
from semiovs.models.exported import load_exported


def check_export(path: Path) -> Inspection:
    """Look into a file of `semiovs export` and what lies beside it.

    Raises:
        MissingExtraError: nothing is damaged as far as checksums tell, but the package that opens it is not installed.
    """
    found = Inspection(path, "export")
    again = _again(path)
    _check_sums(path, again, found)
    if not path.is_file() or not found.is_whole:
        return found
    _check_archive(path, again, found)
    try:
        facts, _ = load_exported(path)
    except MissingExtraError:
        raise
    except WeightsError as error:
        found.add("damage", path, str(error), again)
        return found
    _compare_weights(path, facts, again, found)
    return found


def _again(path: Path) -> str:
    """The command that writes the file anew."""
    run = find_run(path)
    to = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}[path.suffix]
    if run is None:
        return f"# copy it again, or RUN: the run it was made of: {type_command('export', 'RUN', '--to', to)}"
    return type_command("export", run, "--to", to, "--out", path, "--overwrite")


def _check_sums(path: Path, again: str, found: Inspection) -> None:
    try:
        recorded = read_recorded(path)
    except (OSError, ValueError) as error:
        found.add("damage", path, f"its checksums cannot be read: {error}", again)
        return
    if recorded is None:
        what = "has no checksums beside it (files of earlier versions, or the .sha256 was not copied)"
        found.add("unchecked", path, what)
        parts = [path.name, *([path.with_suffix(".bin").name] if path.suffix == ".xml" else [])]
    for name, wanted in (dict.fromkeys(parts) if recorded is None else recorded).items():
        file = path.with_name(name)
        if not file.is_file():
            found.add("damage", file, "is not there", again)
            continue
        found.checked += 1
        if wanted is not None and sha256_of(file) != wanted:
            found.add("damage", file, f"its SHA-256 is not that of {path.name}.sha256", again)


def _check_archive(path: Path, again: str, found: Inspection) -> None:
    """A torch archive has a checksum of each of its parts."""
    if path.suffix != ".pt2":
        return
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        found.add("damage", path, f"is no whole archive: {error}", again)
        return
    if bad is not None:
        found.add("damage", path, f"its part {bad} is not what was written", again)


def _compare_weights(path: Path, facts: dict[str, Any], again: str, found: Inspection) -> None:
    """Whether the weights that the file was made of are still those of the run."""
    run, name, wanted = find_run(path), str(facts.get("weights", "")), facts.get("weights_sha256")
    if run is None or not name or Path(name).name != name:
        return
    for weights in (run / "checkpoints" / name, run / name):
        if weights.is_file():
            found.checked += 1
            if sha256_of(weights) != wanted:
                what = f"was made of an earlier {name}: the run's is another one now"
                found.add("harmless", path, what, again)
            return
