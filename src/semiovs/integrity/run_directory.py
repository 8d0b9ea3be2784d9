"""A run: configuration, metrics, checkpoints, evaluation, model, and what a killed process left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semiovs.config import load_config
from semiovs.engine.data_fingerprint import DataFingerprint
from semiovs.engine.run import Run
from semiovs.errors import DataError, MissingExtraError, SemiovsError
from semiovs.evaluation import ImageCounts
from semiovs.files import find_writer, parse_json
from semiovs.integrity.checkpoint_files import CheckpointFiles
from semiovs.integrity.inspection import Inspection, type_command
from semiovs.integrity.leftovers import note_leftovers
from semiovs.integrity.metric_rows import check_evaluation, check_metrics, find_best
from semiovs.models.weights import load_model


def check_run(directory: Path, *, again: str = "") -> Inspection:
    """Look into a run. again: how it is trained anew; default: as a training of its own."""
    found, run = Inspection(directory, "run"), Run(directory)
    again = again or "# restore it from a backup, or train again (--overwrite)"
    if writer := find_writer(run.lock):
        what = f"{writer} writes to the run now; what is half-written is no damage yet"
        found.add("unfinished", run.lock, what, f"# when it has ended: {type_command('verify', directory)}")
    _check_config(run, found)
    rows = check_metrics(run, found)
    files = CheckpointFiles(run, found)
    if run.checkpoints.is_dir():
        files.check(rows)
    check_evaluation(run, rows, found)
    _check_model(run, rows, files, again, found)
    _check_facts(run, found)
    note_leftovers(directory, found)
    return found


def _check_config(run: Run, found: Inspection) -> None:
    if not run.config.is_file():
        found.add("damage", run.config, "is not there, so that nobody can go on with the run", "# restore it")
        return
    found.checked += 1
    try:
        load_config(str(run.directory))
    except SemiovsError as error:
        found.add("damage", run.config, _first_line(error), type_command("config", "validate", run.config))


def _check_model(
    run: Run, rows: Sequence[Mapping[str, Any]], files: CheckpointFiles, again: str, found: Inspection
) -> None:
    if not run.model.is_file():
        what = "is not there yet: the training is not finished" if rows or files.whole else "nothing was trained yet"
        found.add("unfinished", run.model, what, files.resume if files.whole else again)
        return
    found.checked += 1
    next_ = files.resume if files.whole else again
    try:
        _, card = load_model(run.model)
    except MissingExtraError as error:
        found.add("unchecked", run.model, _first_line(error))
        return
    except SemiovsError as error:
        found.add("damage", run.model, _first_line(error), next_)
        return
    told, best = card.training.get("miou"), find_best(rows)
    scores = {
        row.get("miou") for row in rows if row["kind"] == "eval" and row.get("model") == card.training.get("model")
    }
    if told is None or best is None or told == best["miou"]:
        return
    if told in scores:
        found.add("harmless", run.model, f"has mIoU {told:.2f}; a later evaluation was better", next_)
    else:
        found.add("damage", run.model, f"its card tells of mIoU {told:.2f}, which metrics.jsonl does not", next_)


def _check_facts(run: Run, found: Inspection) -> None:
    """Files beside: environment, data, counts of each evaluation image."""
    for name in ("env.json", "loggers.json"):
        path = run.directory / name
        if path.is_file():
            found.checked += 1
            try:
                parse_json(path.read_text("utf-8"))
            except (OSError, ValueError) as error:
                found.add("damage", path, f"cannot be read: {error}", "# restore it from a backup, or delete it")
    if run.data.is_file():
        found.checked += 1
        if DataFingerprint.read(run.data) is None:
            what = "cannot be read, so that `resume` cannot tell whether the data are the same"
            found.add("damage", run.data, what, "# restore it from a backup")
    for path in sorted((run.directory / "scores").glob("*.npz")):
        found.checked += 1
        try:
            ImageCounts.read(path)
        except DataError as error:
            found.add("damage", path, _first_line(error), type_command("evaluate", run.directory))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
