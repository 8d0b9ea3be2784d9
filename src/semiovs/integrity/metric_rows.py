"""The rows of a run's metrics.jsonl, and what eval.json says of the last and best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semiovs.engine.run import Run, scan_metrics
from semiovs.files import open_regular, parse_json
from semiovs.integrity.inspection import Inspection, type_command

Row = Mapping[str, Any]


def check_metrics(run: Run, found: Inspection) -> list[Row]:
    """Look at each line: it can be read, and the steps rise. Returns the rows that can be read."""
    path, resume = run.metrics, type_command("resume", run.directory)
    if not path.exists():
        if run.model.is_file():
            found.add("damage", path, "is not there, but the training is finished", "# restore it from a backup")
        return []
    found.checked += 1
    try:
        lines = list(scan_metrics(path))
        cut = not _ends_in_a_line(run)
    except OSError as error:
        found.add("damage", path, f"cannot be read: {error.strerror}", "# make it readable")
        return []
    wrong = [number for number, row in lines if row is None]
    if wrong and cut and wrong[-1] == lines[-1][0]:
        found.add("harmless", path, f"line {wrong.pop()} is half-written, as by a killed process", resume)
    for number in wrong:
        found.add("damage", path, f"line {number} cannot be read", f"# restore it from a backup; it is lost: {resume}")
    _check_order([(number, row) for number, row in lines if row is not None], run, found)
    return [row for _, row in lines if row is not None]


def _ends_in_a_line(run: Run) -> bool:
    with open_regular(run.metrics) as file:
        return file.read()[-1:] in (b"\n", b"")


def _check_order(rows: Sequence[tuple[int, Row]], run: Run, found: Inspection) -> None:
    """Steps never fall, and a row of a training or an evaluation stands there once."""
    before, seen = 0, set[tuple[Any, ...]]()
    advice = "# keep the lines of one training: two wrote, or the file was changed"
    for number, row in rows:
        step, key = row["step"], (row["kind"], row["step"], row.get("model"))
        if step < before:
            found.add("damage", run.metrics, f"line {number} is of step {step}, after one of step {before}", advice)
        elif key in seen and row["kind"] in ("train", "eval", "held_out"):
            found.add("damage", run.metrics, f"line {number} is of step {step}, as an earlier one is", advice)
        before = max(before, step)
        seen.add(key)


def find_best(rows: Sequence[Row]) -> Row | None:
    """The evaluation that is the best so far."""
    return next((row for row in reversed(_scores(rows)) if row.get("best")), None)


def _scores(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "eval" and {"model", "miou"} <= row.keys()]


def check_evaluation(run: Run, rows: Sequence[Row], found: Inspection) -> None:
    """Compare eval.json with the rows that it was copied from."""
    path, scores = run.evaluation, _scores(rows)
    resume = type_command("resume", run.directory)
    if not path.exists():
        if scores and run.model.is_file():
            found.add("damage", path, "is not there, but the training is finished", resume)
        return
    found.checked += 1
    try:
        told = parse_json(path.read_text("utf-8"))
        last = dict(told["last"]) if "last" in told else None  # only `semiovs evaluate` wrote it
        best = told.get("best")
        copies = [*(last or {}).values(), *([best] if best else [])]
        wrong = [row for row in copies if row not in scores]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found.add("damage", path, f"cannot be read: {error}", resume)
        return
    for row in wrong:
        which = f"step {row.get('step')}" if isinstance(row, Mapping) else "no evaluation"
        found.add("damage", path, f"tells of {which} what metrics.jsonl does not", resume)
    if wrong or not last or not scores:
        return
    step, newest = next(iter(last.values()))["step"], scores[-1]["step"]
    if step != newest:
        found.add("harmless", path, f"is of step {step}; the run went on to step {newest} since", resume)
    elif best != find_best(scores):
        found.add("damage", path, "its best evaluation is not that of metrics.jsonl", resume)
