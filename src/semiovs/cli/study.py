"""``semiovs study``: a published table as a queue of trainings, for those who have its images and weights."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.cli.study_plan import report_plan
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.engine.teacher_choice import TeacherChoice
    from semiovs.study.execution import StudyReport
    from semiovs.study.plan import StudyPlan

#: What needs not be typed.
_DEFAULTS: Mapping[str, Any] = {
    "--seeds": 3, "--teacher": "sed", "--jobs": 1, "--shard": "0/1", "--out": Path("runs/study-voc"),
}  # fmt: skip

study = typer.Typer(help="A published table as a queue of trainings.", add_completion=False, rich_markup_mode=None)

_Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of all trainings; data.root=DIR: Pascal VOC, ood=DIR: COCO's images (or a list of them).",
    ),
]
_Learners = Annotated[
    list[str] | None,
    typer.Option(
        "--learners",
        metavar="LIST",
        help="supervised,fixmatch,unimatch,prevmatch,semivl,corrmatch,ddfp,allspark,unimatch-v2; default: "
        "unimatch,prevmatch,semivl; may be repeated.",
    ),
]
_Splits = Annotated[
    list[str] | None,
    typer.Option("--splits", metavar="LIST", help="92,183,366,732,1464; default: all; may be repeated."),
]
_Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arms", metavar="LIST", help="base (without OOD images), ood (with them); default: both; may be repeated."
    ),
]
_Seeds = Annotated[int, typer.Option(min=1, max=100, help="Trainings of each learner, split and arm.")]
_Teacher = Annotated[
    str, typer.Option(help="Teacher that labels the OOD images, once for all (semiovs list teachers).")
]
_Jobs = Annotated[int, typer.Option(min=1, max=64, help="Trainings at a time.")]
_Budget = Annotated[
    float | None, typer.Option(metavar="MINUTES", min=0.01, help="Stop after so long; the same command goes on.")
]
_Shard = Annotated[
    str,
    typer.Option(
        metavar="I/N", help="Label and train every N-th one from the I-th on, on one of N machines with one disk."
    ),
]
_Keep = Annotated[bool, typer.Option("--keep-checkpoints", help="Keep the checkpoints of finished trainings.")]
_Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study.")]
_DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be trained, what it costs, and which files are missing; exit code 3 "
                                   "or 4 if any is."),
]  # fmt: skip
_Report = Annotated[bool, typer.Option("--report", help="Write the table of what is finished in --out; train nothing.")]


@study.callback()
def group() -> None:
    """A published table as a queue of trainings."""


@study.command()
def voc(
    overrides: _Overrides = None,
    learners: _Learners = None,
    splits: _Splits = None,
    arms: _Arms = None,
    seeds: _Seeds = 3,
    teacher: _Teacher = "sed",
    from_: options.From = None,
    map_: options.Map = None,
    set_: options.Set = None,
    weights: options.Weights = None,
    jobs: _Jobs = 1,
    budget: _Budget = None,
    shard: _Shard = "0/1",
    keep_checkpoints: _Keep = False,
    out: _Out = Path("runs/study-voc"),
    dry_run: _DryRun = False,
    report_: _Report = False,
    as_json: Json = False,
) -> None:
    """Train the SemiOVS paper's table on Pascal VOC: labelled splits x learners x with and without OOD images.

    Killed at any time, the same command goes on. Exit code 75 if trainings are left (--budget).
    """
    from semiovs.config.option_texts import parse_shard
    from semiovs.study.plan import StudyPlan, StudyRequest

    if report_:
        given = {
            "--dry-run": dry_run,
            "a setting": overrides,
            "--learners": learners,
            "--splits": splits,
            "--arms": arms,
        }
        _report_finished(out, given, as_json=as_json)
        return
    share = parse_shard(shard)
    choice = options.type_teacher(teacher, weights, from_, map_, set_)
    names = [_split_names(texts) for texts in (learners, splits, arms)]
    plan = StudyPlan.of(StudyRequest(names[0], names[1], names[2], seeds, overrides or ()), out)
    typed: dict[str, Any] = {"--learners": learners, "--splits": splits, "--arms": arms, "--seeds": seeds}
    typed |= {"--teacher": teacher, "--from": from_, "--map": map_, "--set": set_, "--weights": weights}
    typed |= {"--jobs": jobs, "--budget": budget, "--shard": shard, "--out": out}
    again = _retype(overrides or [], typed, keep_checkpoints=keep_checkpoints)
    if dry_run:
        report_plan(plan, choice, jobs, again, as_json=as_json)
        return
    _train(plan, choice, share, again, jobs=jobs, budget=budget, keep=keep_checkpoints, as_json=as_json)


def _split_names(texts: Sequence[str] | None) -> list[str]:
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def _retype(settings: Sequence[str], typed: Mapping[str, Any], *, keep_checkpoints: bool) -> str:
    """The command as it was typed, but for options that only look at it."""
    words = ["semiovs", "study", "voc", *settings]
    for name, value in typed.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None and each != _DEFAULTS.get(name):
                words += [name, str(each)]
    return shlex.join([*words, *(["--keep-checkpoints"] if keep_checkpoints else [])])


def _train(
    plan: StudyPlan,
    choice: TeacherChoice,
    shard: tuple[int, int],
    again: str,
    *,
    jobs: int,
    budget: float | None,
    keep: bool,
    as_json: bool,
) -> None:
    from semiovs.comparison.workers import Machine, require_finished
    from semiovs.study.execution import carry_out, collect

    machine = Machine.within(budget, jobs, first_device=shard[0], keep_checkpoints=keep)
    agree = options.make_agree(yes=False)
    outcome = carry_out(plan, choice, machine, shard, agree=agree, show=progress, say=log)
    found = collect(plan, outcome, log)
    _print_table(found, [again] if found.left else [], as_json=as_json)
    require_finished(plan, outcome)


def _report_finished(out: Path, given: Mapping[str, Any], *, as_json: bool) -> None:
    from semiovs.study.execution import collect
    from semiovs.study.table import find_plan

    if named := [name for name, value in given.items() if value]:
        raise UsageError(f"--report shows all that is finished; {', '.join(named)} has no meaning beside it")
    _print_table(collect(find_plan(out), None, log), [], as_json=as_json)


def _print_table(found: StudyReport, again: list[str], *, as_json: bool) -> None:
    if not found.files:
        return
    steps = [*again, *_propose_comparison(found), f"# look at {found.files['markdown']}"]
    data = {
        **found.table.as_json(),
        "left": list(found.left),
        "diverged": dict(found.diverged),
        "files": {name: str(path) for name, path in found.files.items()},
        "next": steps,
    }
    report(data, as_json=as_json, text=f"{format_table(*found.table.list_rows())}\n{format_next(steps)}")


def _propose_comparison(found: StudyReport) -> list[str]:
    """The command that says how certain the first difference is whose trainings are finished."""
    pair = found.table.find_pair()
    if not pair:
        return []
    runs = [word for path in pair for word in ("--runs", str(path))]
    return [shlex.join(["semiovs", "compare", *runs, "--out", str(found.files["markdown"].parent / "comparison")])]
