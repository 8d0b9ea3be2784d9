"""Carry out a comparison that was prepared: ask the teacher, train the cells, write what they found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from semiovs.calibration.calibration import identify_teacher
from semiovs.comparison.files import write_files
from semiovs.comparison.handed_in import read_runs
from semiovs.comparison.plan import Cell, Plan
from semiovs.comparison.prepare import Prepared, Request, prepare
from semiovs.comparison.results import Results, read_results
from semiovs.comparison.teacher_scores import score_teacher
from semiovs.comparison.uncertainty import SEEDS_NEEDED
from semiovs.comparison.workers import Machine, Outcome, train_cells
from semiovs.config import LoadedConfig
from semiovs.duration import format_duration
from semiovs.engine.teacher_choice import Agree, TeacherChoice
from semiovs.errors import DivergedError, PreemptedError
from semiovs.progress import Say, ShowProgress


def plan_comparison(
    loaded: LoadedConfig, request: Request, out: Path | None, *, write: bool = True, show: ShowProgress, say: Say
) -> Prepared:
    """Check and plan (`prepare`) in the folder `out`, by default ``comparison`` beside the runs; say what is planned.

    Raises:
        As `prepare`.
    """
    root = out or Path("runs") / (loaded.config.run.name or "run") / "comparison"
    with show("reading masks") as progress:
        prepared = prepare(loaded, request, root, write=write, progress=progress)
    _tell_plan(prepared.plan, len(prepared.evaluated), say)
    return prepared


def carry_out(
    prepared: Prepared,
    cells: Sequence[Cell],
    machine: Machine,
    *,
    teacher: TeacherChoice | None = None,
    agree: Agree,
    show: ShowProgress,
    say: Say,
) -> Outcome:
    """Ask the teacher, where one is named, and train `cells`.

    Raises:
        SemiovsError: as `score_teacher` and `train_cells`.
    """
    if teacher is not None:
        _ask_teacher(prepared, teacher, agree, show, say)
    begin = time.monotonic()
    with show("training", unit="steps") as progress:
        outcome = train_cells(prepared.plan, cells, machine, progress)
    say(f"{len(outcome.done)} trainings are finished, after {format_duration(time.monotonic() - begin)}")
    return outcome


def collect(prepared: Prepared, outcome: Outcome, say: Say) -> tuple[Results, dict[str, Path]]:
    """What is finished, written into the folder of the comparison: results, and kind -> file; no files without any arm.

    say: told which trainings diverged.
    """
    results = read_results(prepared.plan, prepared.images.vocabulary.names)
    for cell, reason in outcome.diverged.items():
        say(f"warning: {cell}: {reason}")
    return results, write_files(results, prepared.plan.root) if results.arms else {}


def compare_runs(runs: Sequence[Path], group: str | None, out: Path | None) -> tuple[Results, dict[str, Path]]:
    """Compare runs that were made earlier (`read_runs`), and write the files into `out`, by default
    ``runs/comparison``.
    """
    results = read_runs(runs, group)
    return results, write_files(results, out or Path("runs") / "comparison")


def require_finished(plan: Plan, outcome: Outcome) -> None:
    """Raise PreemptedError for trainings that are left, DivergedError for those that diverged."""
    if outcome.left:
        raise PreemptedError(
            f"{len(outcome.left)} trainings of {len(plan.cells())} are left; the same command goes on with them"
        )
    if outcome.diverged:
        raise DivergedError(f"{len(outcome.diverged)} trainings diverged: {', '.join(outcome.diverged)}")


def _tell_plan(plan: Plan, images: int, say: Say) -> None:
    cells = len(plan.cells())
    where = f"{images} labelled images, in {plan.folds} folds" if plan.folds else f"{images} evaluation images"
    say(
        f"{', '.join(arm.name for arm in plan.arms)}; {len(plan.seeds)} seed(s): {cells} trainings of {plan.steps} "
        f"steps, measured on {where}; in {plan.root}"
    )
    if len(plan.seeds) < SEEDS_NEEDED:
        say(f"note: {len(plan.seeds)} seed(s) describe; a verdict needs {SEEDS_NEEDED} (--seeds {SEEDS_NEEDED})")


def _ask_teacher(prepared: Prepared, choice: TeacherChoice, agree: Agree, show: ShowProgress, say: Say) -> None:
    ids = (record.id for record in prepared.evaluated)
    choice = choice.resolve(prepared.images.vocabulary, ids=ids, agree=agree, say=say)
    asked = choice.build()
    with show("asking the teacher") as progress:
        score_teacher(
            prepared.plan.root,
            asked,
            identify_teacher(choice.name, asked),
            prepared.images,
            prepared.evaluated,
            batch_size=1,
            progress=progress,
        )
