"""A store of labels: what `semiovs labels verify` finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from semiovs.errors import DataError
from semiovs.files import open_regular
from semiovs.integrity.inspection import Inspection, type_command
from semiovs.integrity.leftovers import note_leftovers
from semiovs.store.meta import INDEX, META
from semiovs.store.pack import JOB
from semiovs.store.packed_labels import is_packed
from semiovs.store.shard_index import PACK_AGAIN, SHARDS
from semiovs.store.verify import StoreReport, inspect


def check_store(root: Path, *, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Look into a store; progress: called with the images done and in total."""
    found, packed = Inspection(root, "store"), is_packed(root)
    fix = f"# {PACK_AGAIN}" if packed else type_command("labels", "verify", root, "--fix")
    if (root / JOB).exists():
        found.add("unfinished", root / JOB, "a store is being packed here, or was", "# run `semiovs labels pack` again")
        if not (root / META).exists():
            return found
    try:
        report = inspect(root, progress=progress)
    except DataError as error:
        if packed and str(error).startswith(str(root / SHARDS)):
            found.add("damage", root / SHARDS, str(error), "" if PACK_AGAIN in str(error) else fix)
            return found
        found.add("damage", root / META, str(error), "# restore it from a backup, or label into a new folder")
        return found
    found.checked = report.checked
    _note_damage(found, report, fix)
    if report.stray:
        first = root / report.stray[0]
        found.add("harmless", first, f"belongs to no image, as {len(report.stray)} file(s) in all")
    if not packed and _is_cut(root / INDEX):
        found.add("harmless", root / INDEX, "its last line is half-written, as by a killed process; `label` redoes it")
    for folder in (root, root / "incoming"):  # the only ones that are written to by way of other names
        note_leftovers(folder, found, deep=False)
    return found


def _note_damage(found: Inspection, report: StoreReport, fix: str) -> None:
    root = found.path
    for line in report.lines:
        found.add("damage", root / INDEX, f"line {line} cannot be read", fix)
    for problem in report.shards:
        file, _, what = problem.partition(": ")
        found.add("damage", Path(file), what, fix)
    for kind, ids in (("is missing", report.missing), ("is not what was written", report.damaged)):
        for id_ in ids:
            found.add("damage", root, f"the label of image '{id_}' {kind}", fix)


def _is_cut(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.seek(0, 2) > 0 and file.seek(-1, 2) >= 0 and file.read() != b"\n"
    except OSError:
        return False
