"""``semiovs compare``: train arms that differ in one thing over several seeds, and say whether the images helped."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.duration import format_duration
from semiovs.errors import DivergedError, PreemptedError, UsageError

if TYPE_CHECKING:
    from semiovs.comparison.plan import Plan
    from semiovs.comparison.prepare import Prepared, Request
    from semiovs.comparison.results import Results
    from semiovs.comparison.workers import Outcome
    from semiovs.config import LoadedConfig

#: Types the command anew, with another number of seeds.
Again = Callable[[int], str]

_Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...", help="Preset, YAML file, or folder with a semiovs.yaml; then values on top."
    ),
]
_Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arms",
        metavar="LIST",
        help="What to compare: labels,unlabeled,naive,ood,placebo,probe,teacher; default: all that the configuration "
        "can have but the probe; may be repeated.",
    ),
]
_Seeds = Annotated[int, typer.Option(min=1, max=100, help="Trainings of each arm; from 6 on there is a verdict.")]
_Folds = Annotated[
    int | None,
    typer.Option(
        min=2, help="Evaluate on the labelled images, each in its turn, in so many parts; default without data.val: 5."
    ),
]
_Resplit = Annotated[
    int, typer.Option(metavar="N", min=0, help="Each seed learns from N other ones of the labelled images.")
]
_Group = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="REGEX",
        help="Evaluation images whose ids give the same first group count as one, such as frames of one film.",
    ),
]
_Runs = Annotated[
    list[Path] | None,
    typer.Option("--runs", metavar="RUN", help="Compare runs that were made already; may be repeated."),
]
_Jobs = Annotated[int, typer.Option(min=1, max=64, help="Trainings at a time.")]
_Budget = Annotated[
    float | None, typer.Option(metavar="MINUTES", min=0.1, help="Stop after so long; the same command goes on.")
]
_Shard = Annotated[
    str, typer.Option(metavar="I/N", help="Train every N-th of the trainings from the I-th on, on one of N machines.")
]
_Keep = Annotated[bool, typer.Option("--keep-checkpoints", help="Keep the checkpoints of finished trainings.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be trained; train nothing.")]


def compare(
    arguments: _Arguments = None,
    arms: _Arms = None,
    seeds: _Seeds = 3,
    folds: _Folds = None,
    resplit: _Resplit = 0,
    group_by: _Group = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher of the arm `teacher` (semiovs list teachers).")] = None,
    from_: options.From = None,
    map_: options.Map = None,
    set_: options.Set = None,
    weights: options.Weights = None,
    runs: _Runs = None,
    jobs: _Jobs = 1,
    budget: _Budget = None,
    shard: _Shard = "0/1",
    keep_checkpoints: _Keep = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the comparison.")] = None,
    dry_run: _DryRun = False,
    as_json: Json = False,
) -> None:
    """Train with labels alone, with unlabelled images, with OOD images and with controls, and say what helped.

    Killed at any time, the same command goes on. Exit code 75 if trainings are left (--budget).
    """
    choice = None if teacher is None else options.TeacherChoice(teacher, weights, from_, map_, set_ or [])
    if runs:
        _refuse_beside_runs(arguments=arguments, arms=arms, folds=folds, resplit=resplit, teacher=teacher)
        _compare_runs(runs, group_by, out, as_json=as_json)
        return
    asked = _make_request(arms, seeds, folds, resplit, group_by, teacher=teacher is not None)
    typed: dict[str, Any] = {"--arms": arms, "--folds": folds, "--resplit": resplit, "--group-by": group_by}
    typed |= {"--teacher": teacher, "--weights": weights, "--from": from_, "--map": map_, "--set": set_}
    typed |= {"--jobs": jobs, "--out": out}
    again = partial(_retype, arguments or [], typed)
    prepared = _prepare(arguments or [], asked, out, write=not dry_run)
    if dry_run:
        _report_plan(prepared.plan, again(seeds), as_json=as_json)
        return
    if choice is not None:
        _ask_teacher(prepared, choice)
    outcome = _train(prepared.plan, shard, jobs, budget, keep_checkpoints=keep_checkpoints)
    if os.environ.get("RANK", "0") == "0":
        _report(prepared.plan, prepared.images.vocabulary.names, outcome, again, as_json=as_json)
    _raise_unfinished(prepared.plan, outcome)


def _retype(arguments: Sequence[str], options_: Mapping[str, Any], seeds: int) -> str:
    """The command with another number of seeds."""
    words = ["semiovs", "compare", *arguments, "--seeds", str(seeds)]
    for name, value in options_.items():
        for each in value if isinstance(value, list) else [value]:
            if each and (name, each) != ("--jobs", 1):
                words += [name, str(each)]
    return shlex.join(words)


def _report_plan(plan: Plan, step: str, *, as_json: bool) -> None:
    report({**plan.as_json(), "next": [step]}, as_json=as_json, text=format_next([step]))


def _prepare(arguments: list[str], asked: Request, out: Path | None, *, write: bool) -> Prepared:
    from semiovs.comparison.prepare import prepare

    loaded, root = _load(arguments, out)
    with progress("reading masks") as show:
        prepared = prepare(loaded, asked, root, write=write, progress=show)
    _tell_plan(prepared.plan, len(prepared.evaluated))
    return prepared


def _load(arguments: list[str], out: Path | None) -> tuple[LoadedConfig, Path]:
    from semiovs.config import load_config, split_source

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        raise UsageError("give a configuration (semiovs init FOLDER writes one), or runs to compare (--runs)")
    loaded = load_config(source, overrides)
    return loaded, out or Path("runs") / (loaded.config.run.name or "run") / "comparison"


def _make_request(
    arms: list[str] | None, seeds: int, folds: int | None, resplit: int, group: str | None, *, teacher: bool
) -> Request:
    from semiovs.comparison.prepare import Request

    wanted = [name.strip() for text in arms or () for name in text.split(",") if name.strip()]
    return Request(wanted, seeds, folds, resplit, group, teacher)


def _refuse_beside_runs(**given: object) -> None:
    named = [f"--{name}" if name != "arguments" else "a configuration" for name, value in given.items() if value]
    if named:
        raise UsageError(f"--runs compares what is there; {', '.join(named)} has no meaning beside it")


def _tell_plan(plan: Plan, images: int) -> None:
    cells = len(plan.cells())
    where = f"{images} labelled images, in {plan.folds} folds" if plan.folds else f"{images} evaluation images"
    log(
        f"{', '.join(arm.name for arm in plan.arms)}; {len(plan.seeds)} seed(s): {cells} trainings of {plan.steps} "
        f"steps, measured on {where}; in {plan.root}"
    )
    if len(plan.seeds) < 6:
        log(f"note: {len(plan.seeds)} seed(s) describe; a verdict needs 6 (--seeds 6)")


def _ask_teacher(prepared: Prepared, choice: options.TeacherChoice) -> None:
    from semiovs.calibration.calibration import identify_teacher
    from semiovs.comparison.teacher_scores import score_teacher

    ids = (record.id for record in prepared.evaluated)
    choice = choice.resolve(prepared.images.vocabulary, ids=ids)
    asked = choice.build()
    with progress("asking the teacher") as show:
        score_teacher(
            prepared.plan.root,
            asked,
            identify_teacher(choice.name, asked),
            prepared.images,
            prepared.evaluated,
            batch_size=1,
            progress=show,
        )


def _choose_shard(text: str) -> tuple[int, int]:
    """(i, n) of ``--shard``, or of the processes that `torchrun` started."""
    index, count = options.parse_shard(text)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and count == 1:
        return int(os.environ.get("RANK", "0")), size
    return index, count


def _train(plan: Plan, shard: str, jobs: int, budget: float | None, *, keep_checkpoints: bool) -> Outcome:
    """Train the cells of this shard; the first process of a launch waits for those of the others."""
    from semiovs.comparison.workers import Machine, train_cells

    begin, cells = time.monotonic(), plan.cells()
    deadline = None if budget is None else begin + 60 * budget
    index, count = _choose_shard(shard)
    machine = Machine(jobs, deadline=deadline, first_device=index, keep_checkpoints=keep_checkpoints)
    with progress("training", unit="steps") as show:
        outcome = train_cells(plan, cells[index::count], machine, show)
    if index == 0 and count > 1 and not outcome.left and os.environ.get("WORLD_SIZE", "1") != "1":
        with progress("waiting for the other processes", unit="steps") as show:
            outcome = train_cells(plan, cells, machine, show)
    log(f"{len(outcome.done)} trainings are finished, after {format_duration(time.monotonic() - begin)}")
    return outcome


def _report(plan: Plan, names: tuple[str, ...], outcome: Outcome, again: Again, *, as_json: bool) -> None:
    from semiovs.comparison.results import read_results
    from semiovs.comparison.uncertainty import SEEDS_NEEDED

    results = read_results(plan, names)
    for cell, reason in outcome.diverged.items():
        log(f"warning: {cell}: {reason}")
    if results.arms:
        few = len(plan.seeds) < SEEDS_NEEDED and not results.missing
        _write_and_print(results, plan.root, [again(SEEDS_NEEDED)] if few else [], as_json=as_json)


def _write_and_print(results: Results, root: Path, steps: list[str], *, as_json: bool) -> None:
    from semiovs.comparison.files import write_files

    files = write_files(results, root)
    steps = [*steps, f"# look at {files['page']}"]
    data = {**results.as_json(), "files": {name: str(path) for name, path in files.items()}, "next": steps}
    report(data, as_json=as_json, text=f"{_format_text(results)}\n{format_next(steps)}")


def _format_text(results: Results) -> str:
    from semiovs.comparison.tables import list_arms, list_differences

    said = [*results.answers[0].sentences, *results.answers[0].cost] if results.answers else []
    tables = [format_table(*list_arms(results)), format_table(*list_differences(results))]
    return "\n".join([*said, "", tables[0], "", tables[1]])


def _compare_runs(runs: list[Path], group: str | None, out: Path | None, *, as_json: bool) -> None:
    from semiovs.comparison.handed_in import read_runs

    results = read_runs(runs, group)
    _write_and_print(results, out or Path("runs") / "comparison", [], as_json=as_json)


def _raise_unfinished(plan: Plan, outcome: Outcome) -> None:
    """Raise what the exit code tells: trainings that are left, or diverged."""
    if outcome.left:
        raise PreemptedError(
            f"{len(outcome.left)} trainings of {len(plan.cells())} are left; the same command goes on with them"
        )
    if outcome.diverged:
        raise DivergedError(f"{len(outcome.diverged)} trainings diverged: {', '.join(outcome.diverged)}")
