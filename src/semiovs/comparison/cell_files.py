"""A training of a comparison on disk: whether it is finished, what it found, and whether anybody changed it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semiovs.comparison.queue import Queue, Training
from semiovs.config import load_config
from semiovs.config.load import find_differences
from semiovs.engine.checkpoint_state import CHANGEABLE_KEYS
from semiovs.engine.run import Run, read_metrics
from semiovs.errors import DataError
from semiovs.evaluation import ImageCounts
from semiovs.files import parse_json, sha256_of, write_json

FACTS = "cell.json"

#: Keys that a training fills in with what it measures, and the values that ask for it.
_MEASURED = {"data.mean": None, "data.std": None, "method.class_weights": "auto"}


@dataclass(frozen=True)
class CellFacts:
    """What a finished training found.

    model: that was evaluated (student, ema); last, best: mIoU in percent at the end, and the highest of all evaluations
    with its step; looks: how often the evaluation images were looked at; seconds: of training and evaluation; files:
    SHA-256 of what this was read from.
    """

    model: str
    steps: int
    last: float
    best: float
    best_step: int
    looks: int
    seconds: float
    files: dict[str, str]


def read_facts(run: Path) -> CellFacts | None:
    """What a finished training found; None if it is not finished.

    Raises:
        DataError: a file of it was changed since.
    """
    path = run / FACTS
    if not path.is_file():
        return None
    try:
        facts = CellFacts(**parse_json(path.read_text("utf-8")))
        changed = [name for name, sum_ in facts.files.items() if sha256_of(run / name) != sum_]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not what the training wrote ({error}); {_again(run)}") from None
    if changed:
        raise DataError(f"{run / changed[0]}: not what the training wrote, it was changed since; {_again(run)}")
    return facts


def _again(run: Path) -> str:
    return f"remove {run} to train again"


def finish(run: Run, *, keep_checkpoints: bool = False) -> CellFacts:
    """Note what a training found that ran to its end, and remove its checkpoints; its weights for prediction stay."""
    facts = summarize_run(run)
    write_json(run.directory / FACTS, asdict(facts))
    if not keep_checkpoints:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return facts


def summarize_run(run: Run) -> CellFacts:
    """What the run found at its last step.

    Raises:
        DataError: it was not evaluated, or kept no counts of each image.
    """
    rows = read_metrics(run.metrics)
    scores = [row for row in rows if row["kind"] == "eval" and {"model", "miou"} <= row.keys()]
    if not scores:
        raise DataError(f"{run.directory}: this run was never evaluated; set data.val")
    # the models of a step stand together; the one that decides which step is the best is marked there
    model = str(next(row for row in scores if row.get("best"))["model"])
    mine = [row for row in scores if row["model"] == model]
    best = max(mine, key=lambda row: float(row["miou"]))
    counts = run.counts(model, "last")
    if not counts.is_file():
        raise DataError(
            f"{run.directory}: kept no counts of each image; make them with: semiovs evaluate {run.directory}"
        )
    files = {path.relative_to(run.directory).as_posix(): sha256_of(path) for path in (run.config, counts)}
    at_end = [row for row in scores if row["step"] == mine[-1]["step"]]  # the lines of training hold the others' time
    timed = [*(row for row in rows if row["kind"] == "train"), *at_end]
    seconds = sum(float(row.get("wall/seconds", 0)) for row in timed)
    return CellFacts(
        model, int(mine[-1]["step"]), float(mine[-1]["miou"]), float(best["miou"]), int(best["step"]), len(mine),
        round(seconds, 1), files,
    )  # fmt: skip


def is_complete(plan: Queue, cell: Training) -> bool:
    """Whether the training ran to its end with the settings of the plan.

    Raises:
        DataError: there is one with other settings, or a file of it was changed.
    """
    run = Run(plan.directory(cell))
    if not run.config.is_file():
        return False
    require_same_settings(plan, cell)
    if read_facts(run.directory) is not None:
        return True
    if not run.model.is_file():  # written last
        return False
    finish(run)
    return True


def require_same_settings(plan: Queue, cell: Training) -> None:
    """Raise DataError if the training was begun with other settings than those of the plan."""
    run = Run(plan.directory(cell))
    found = find_differences(load_config(str(run.config)), plan.load(cell))
    other = [d for d in found if not is_free(d.key) and not (d.key in _MEASURED and d.right == _MEASURED[d.key])]
    if other:
        told = ", ".join(f"{d.key}: {d.left} there, {d.right} now" for d in other)
        raise DataError(f"{run.directory}: trained with other settings ({told}); {_again(run.directory)}")


def is_free(key: str) -> bool:
    """Whether a key may differ between the trainings of one arm."""
    return key.startswith(CHANGEABLE_KEYS)


def read_counts(run: Path, facts: CellFacts) -> ImageCounts:
    """Counts of each evaluation image at the last step."""
    return ImageCounts.read(Run(run).counts(facts.model, "last"))


def describe_origin(run: Path) -> Mapping[str, Any]:
    """Where a run was made (env.json); empty if that is not known."""
    try:
        found = parse_json((run / "env.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
