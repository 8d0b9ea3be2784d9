"""Files that a killed process left half-written: harmless, since nothing reads them."""

from __future__ import annotations

import shlex
from pathlib import Path

from semiovs.engine.checkpoint import OLD_TEMPORARY
from semiovs.files import describe_temporary
from semiovs.integrity.inspection import Inspection


def note_leftovers(root: Path, found: Inspection, *, deep: bool = True) -> None:
    """Name every temporary file and folder in `root` (deep: and below), and who wrote it."""
    for path in sorted(root.rglob("*") if deep else root.glob("*")):
        if any(describe_temporary(above) for above in path.relative_to(root).parents):
            continue  # inside a temporary folder, which is named as a whole
        if owner := describe_temporary(path):
            who, may_write = owner
            if may_write:
                found.add("harmless", path, f"half-written; {who} may be writing it still")
            else:
                found.add("harmless", path, f"half-written by {who}, which has ended", _remove(path))
        elif OLD_TEMPORARY.fullmatch(path.name):
            found.add("harmless", path, "half-written by a process of an earlier version", _remove(path))


def _remove(path: Path) -> str:
    return shlex.join(["rm", "-r", str(path)] if path.is_dir() and not path.is_symlink() else ["rm", str(path)])
