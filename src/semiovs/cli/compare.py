"""``semiovs compare``: train arms that differ in one thing over several seeds, and say whether the images helped."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.config.sources import IN_FOLDERS
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.comparison.execution import ComparisonReport
    from semiovs.comparison.prepare import Prepared, Request
    from semiovs.comparison.workers import Outcome
    from semiovs.config import LoadedConfig
    from semiovs.engine.teacher_choice import TeacherChoice

#: Types the command anew, with another number of seeds.
Again = Callable[[int], str]

_Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...",
        help="Preset, YAML file, or folder with a semiovs.yaml; then values on top. Beside exported files (--runs): "
        "whose images they are evaluated on.",
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
_Teacher = Annotated[
    str | None,
    typer.Option(help="Labels OOD images that have no labels yet, and is an arm (semiovs list teachers)."),
]
_Runs = Annotated[
    list[Path] | None,
    typer.Option(
        "--runs",
        metavar="RUN|FILE",
        help="Compare runs that were made already, and files that were exported; may be repeated.",
    ),
]
_Jobs = Annotated[int, typer.Option(min=1, max=64, help="Trainings at a time.")]
_Budget = Annotated[
    float | None, typer.Option(metavar="MINUTES", min=0.01, help="Stop after so long; the same command goes on.")
]
_Shard = Annotated[
    str, typer.Option(metavar="I/N", help="Train every N-th of the trainings from the I-th on, on one of N machines.")
]
_Tune = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=V1,V2",
        help="Each arm chooses among these values, on parts of the labelled images; may be repeated.",
    ),
]
_Keep = Annotated[bool, typer.Option("--keep-checkpoints", help="Keep the checkpoints of finished trainings.")]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be trained, and how long it takes; train nothing.")
]


def compare(
    arguments: _Arguments = None,
    arms: _Arms = None,
    seeds: _Seeds = 3,
    folds: _Folds = None,
    resplit: _Resplit = 0,
    group_by: _Group = None,
    tune: _Tune = None,
    teacher: _Teacher = None,
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
    if runs:
        _refuse_beside_runs(arms=arms, folds=folds, resplit=resplit, tune=tune, teacher=teacher)
        _compare_runs(runs, arguments or [], group_by, out, as_json=as_json)
        return
    from semiovs.comparison.prepare import Request
    from semiovs.comparison.workers import require_finished

    choice = None if teacher is None else options.type_teacher(teacher, weights, from_, map_, set_)
    asked = Request(_split_names(arms), seeds, folds, resplit, group_by, choice, tune or ())
    typed: dict[str, Any] = {"--arms": arms, "--folds": folds, "--resplit": resplit, "--group-by": group_by}
    typed |= {"--tune": tune}
    typed |= {"--teacher": teacher, "--weights": weights, "--from": from_, "--map": map_, "--set": set_}
    typed |= {"--jobs": jobs, "--out": out}
    again = partial(_retype, arguments or [], typed)
    loaded = _load(arguments or [])
    prepared = _prepare(loaded, asked, choice, out, write=not dry_run)
    if dry_run:
        _report_plan(prepared, loaded, again(seeds), as_json=as_json)
        return
    prepared, outcome = _train(prepared, choice, shard, jobs, budget, keep_checkpoints=keep_checkpoints)
    if os.environ.get("RANK", "0") == "0":
        _report(prepared, outcome, again, as_json=as_json)
    require_finished(prepared.plan, outcome)


def _prepare(
    loaded: LoadedConfig, asked: Request, choice: TeacherChoice | None, out: Path | None, *, write: bool
) -> Prepared:
    from semiovs.comparison.execution import plan_comparison

    agree = options.make_agree(yes=False)
    return plan_comparison(loaded, asked, out, teacher=choice, agree=agree, write=write, show=progress, say=log)


def _retype(arguments: Sequence[str], options_: Mapping[str, Any], seeds: int) -> str:
    """The command with another number of seeds."""
    words = ["semiovs", "compare", *arguments, "--seeds", str(seeds)]
    for name, value in options_.items():
        for each in value if isinstance(value, list) else [value]:
            if each and (name, each) != ("--jobs", 1):
                words += [name, str(each)]
    return shlex.join(words)


def _report_plan(prepared: Prepared, loaded: LoadedConfig, step: str, *, as_json: bool) -> None:
    from semiovs.comparison.forecast import forecast

    plan, labelled = prepared.plan, prepared.images.ood_labels is not None
    with progress("timing a few steps of each arm", unit="arms") as show:
        found = forecast(plan, loaded, labels_follow=not labelled, progress=show)
    each = {name: round(seconds, 3) for name, seconds in found.seconds.items()}
    told = {"seconds": round(found.total, 1), "seconds_each": each, "at_least": found.is_bound}
    report({**plan.as_json(), **told, "next": [step]}, as_json=as_json, text=f"{found}\n{format_next([step])}")


def _load(arguments: list[str]) -> LoadedConfig:
    from semiovs.config import load_config, split_source

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        raise UsageError("give a folder of images or a configuration, or runs to compare (--runs)")
    if source is not None and Path(source).is_dir() and not any((Path(source) / name).is_file() for name in IN_FOLDERS):
        _write_starter(Path(source))
    return load_config(source, overrides)


def _write_starter(folder: Path) -> None:
    """What `semiovs init` does, for a folder without a configuration."""
    from semiovs.images.discover.starter_file import write_starter

    path = folder / "semiovs.yaml"
    for note in write_starter(folder, path).found.notes:
        log(f"note: {note}")
    log(f"wrote {path}, as `semiovs init` does: look at it if anything is not as you expect")


def _split_names(arms: list[str] | None) -> list[str]:
    return [name.strip() for text in arms or () for name in text.split(",") if name.strip()]


def _refuse_beside_runs(**given: object) -> None:
    if named := [f"--{name}" for name, value in given.items() if value]:
        raise UsageError(f"--runs compares what is there; {', '.join(named)} has no meaning beside it")


def _choose_shard(text: str) -> tuple[int, int]:
    """(i, n) of ``--shard``, or of the processes that `torchrun` started."""
    from semiovs.config.option_texts import parse_shard

    index, count = parse_shard(text)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and count == 1:
        return int(os.environ.get("RANK", "0")), size
    return index, count


def _train(
    prepared: Prepared,
    choice: TeacherChoice | None,
    shard: str,
    jobs: int,
    budget: float | None,
    *,
    keep_checkpoints: bool,
) -> tuple[Prepared, Outcome]:
    """Train the cells of this shard; the first process of a launch waits for those of the others."""
    from semiovs.comparison.execution import carry_out
    from semiovs.comparison.workers import Machine, train_cells

    index, count = _choose_shard(shard)
    machine = Machine.within(budget, jobs, first_device=index, keep_checkpoints=keep_checkpoints)
    asked: dict[str, Any] = {"teacher": choice, "agree": options.make_agree(yes=False)}
    prepared, outcome = carry_out(prepared, machine, (index, count), **asked, show=progress, say=log)
    if index == 0 and count > 1 and not outcome.left and os.environ.get("WORLD_SIZE", "1") != "1":
        with progress("waiting for the other processes", unit="steps") as show:
            outcome = train_cells(prepared.plan, prepared.plan.cells(), machine, show)
    return prepared, outcome


def _report(prepared: Prepared, outcome: Outcome, again: Again, *, as_json: bool) -> None:
    from semiovs.comparison.difference import GROUPS_NEEDED
    from semiovs.comparison.execution import collect
    from semiovs.comparison.uncertainty import SEEDS_NEEDED

    found = collect(prepared, outcome, log)
    if found.results.arms:
        few = len(prepared.plan.seeds) < SEEDS_NEEDED and not found.results.missing
        few = few and len(prepared.evaluated) >= GROUPS_NEEDED  # more seeds alone would give no verdict
        _print(found, [again(SEEDS_NEEDED)] if few else [], as_json=as_json)


def _print(found: ComparisonReport, steps: list[str], *, as_json: bool) -> None:
    steps = [*steps, f"# look at {found.page}"]
    data = {
        **found.results.as_json(),
        "files": {name: str(path) for name, path in found.files.items()},
        "next": steps,
    }
    report(data, as_json=as_json, text=f"{_format_text(found)}\n{format_next(steps)}")


def _format_text(found: ComparisonReport) -> str:
    from semiovs.comparison.tables import list_arms, list_differences

    tables = [format_table(*list_arms(found.results)), format_table(*list_differences(found.results))]
    return "\n".join([*found.says, "", tables[0], "", tables[1]])


def _compare_runs(
    runs: list[Path], arguments: list[str], group: str | None, out: Path | None, *, as_json: bool
) -> None:
    from semiovs.comparison.execution import compare_runs
    from semiovs.comparison.handed_in.reading import ImagesAsked
    from semiovs.config import split_source

    images = ImagesAsked(*split_source(arguments)) if arguments else None
    _print(compare_runs(runs, group, out, images, show=progress, say=log), [], as_json=as_json)
