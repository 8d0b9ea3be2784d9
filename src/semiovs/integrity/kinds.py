"""What a path is, by what lies there, and who looks into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from semiovs.comparison.plan import PLAN
from semiovs.engine.run import find_run
from semiovs.errors import UsageError
from semiovs.integrity.comparison_directory import RESULTS, check_comparison
from semiovs.integrity.exported_file import check_export
from semiovs.integrity.inspection import Inspection
from semiovs.integrity.label_store import check_store
from semiovs.integrity.run_directory import check_run
from semiovs.models.exported import SUFFIXES
from semiovs.object_store import find_url
from semiovs.store.meta import INDEX, META
from semiovs.store.pack import JOB

_NEEDS = (
    f"a run has config.yaml, a store of labels meta.json, a comparison {PLAN}, and an exported file ends in "
    f"{', '.join(SUFFIXES)}"
)


def inspect(path: Path, *, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Look into whatever `path` is; nothing is written.

    progress: called with what is done and in total, where that is known.

    Raises:
        UsageError: it is none of these, or is not there; MissingExtraError: an exported file whose package is not
        installed.
    """
    if find_url(path) is not None:
        return check_store(path, progress=progress)
    if path.is_file():
        return _inspect_file(path)
    if not path.is_dir():
        raise UsageError(f"{path}: does not exist; give a run, a store of labels, a comparison or an exported file")
    if (path / PLAN).exists() or ((path / RESULTS).exists() and (path / "runs").is_dir()):
        return check_comparison(path, progress=progress)
    if any((path / name).exists() for name in (META, INDEX, JOB)):
        return check_store(path, progress=progress)
    if any((path / name).exists() for name in ("config.yaml", "metrics.jsonl", "checkpoints")):
        return check_run(path)
    raise UsageError(f"{path}: nothing that can be verified: {_NEEDS}")


def _inspect_file(path: Path) -> Inspection:
    if path.suffix in SUFFIXES:
        return check_export(path)
    beside = path.with_suffix(".xml")
    if path.suffix == ".bin" and beside.is_file():
        raise UsageError(f"{path}: is a part of {beside.name}; verify that: semiovs verify {beside}")
    if (run := find_run(path)) is not None:
        raise UsageError(f"{path}: is a part of a run; verify that: semiovs verify {run}")
    raise UsageError(f"{path}: nothing that can be verified: {_NEEDS}")
