"""``semiovs card``: measure a teacher on the labelled images and write a page about it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, format_table, report
from semiovs.cli.next_steps import format_next, propose_another_teacher
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.calibration.card import TeacherCard

_Teachers = Annotated[
    list[str] | None,
    typer.Option(
        "--teachers",
        metavar="A,B|FILE",
        help="Compare several, say which to use: names, or a YAML list of {name, weights, options}; may be repeated.",
    ),
]


def card(
    arguments: options.Labeled = None,
    teacher: options.Teacher = "masks",
    from_: options.From = None,
    map_: options.Map = None,
    set_: options.Set = None,
    weights: options.Weights = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write card.html and card.json to.")] = Path(
        "teacher-card"
    ),
    risk: options.OptionalRisk = None,
    rare: options.RareClasses = "global",
    folds: options.Folds = 5,
    group_by: options.GroupBy = None,
    teachers: _Teachers = None,
    batch_size: options.BatchSize = 1,
    yes: options.Yes = False,
    as_json: Json = False,
) -> None:
    """Score a teacher on the labelled images, before any training; evaluation masks are never read.

    Exit code 3 if the teacher is useless there.
    """
    from semiovs.calibration.card import measure_teacher
    from semiovs.config.option_texts import parse_rare

    kind = parse_rare(rare)
    if teachers:
        _refuse_beside(teacher=teacher, weights=weights, map_=map_, set_=set_)
        how: dict[str, Any] = {"risk": risk, "rare": kind, "folds": folds, "batch_size": batch_size}
        _compare(arguments or [], teachers, from_, group_by, out, how, yes=yes, as_json=as_json)
        return
    typed = options.type_teacher(teacher, weights, from_, map_, set_)
    images, choice = options.read_labeled_images(arguments or [], typed, yes=yes)
    with progress("asking the teacher") as show:
        made = measure_teacher(
            choice, images, risk=risk, rare=kind, folds=folds, group=group_by, batch_size=batch_size, progress=show
        )
    limits = ["--risk", f"{made.calibration.risk:g}", "--rare", rare]
    calibrate = shlex.join(["semiovs", "calibrate", *(arguments or []), *choice.arguments(same_images=True), *limits])
    _report_card(
        made, out, propose_another_teacher(arguments or []) if made.verdict.useless else calibrate, as_json=as_json
    )


def _refuse_beside(*, teacher: str, weights: Path | None, map_: list[str] | None, set_: list[str] | None) -> None:
    """Raise UsageError for options of one teacher beside ``--teachers``."""
    given = {"--teacher": teacher != "masks", "--weights": weights, "--map": map_, "--set": set_}
    if wrong := [name for name, value in given.items() if value]:
        raise UsageError(f"{wrong[0]} beside --teachers: write weights and options into a YAML list, --teachers FILE")


def _compare(
    arguments: list[str],
    teachers: list[str],
    root: Path | None,
    group: str | None,
    out: Path,
    limits: dict[str, Any],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Measure several teachers, write page and numbers, and say which to use; exit code 3 if none is worth it."""
    from semiovs.calibration.card import measure_teachers
    from semiovs.calibration.learning import find_units
    from semiovs.calibration.page import write_comparison
    from semiovs.calibration.teacher_comparison import compare_teachers
    from semiovs.engine.teacher_choice import read_teacher_list

    listed = read_teacher_list(teachers, root)
    if len(listed) < 2:
        raise UsageError("--teachers: name two or more, like clip-dense,prototypes")
    found = [(title, *options.read_labeled_images(arguments, choice, yes=yes)) for title, choice in listed]
    images, choices = found[0][1], [(title, choice) for title, _, choice in found]
    cards = measure_teachers(choices, images, group=group, show=progress, **limits)
    made = compare_teachers(cards, find_units(images, group, copies=True))
    step = propose_another_teacher(arguments)
    if made.chosen is not None:
        words, risk = dict(choices)[made.chosen.title].arguments(same_images=True), made.chosen.card.calibration.risk
        step = shlex.join(["semiovs", "calibrate", *arguments, *words, "--risk", f"{risk:g}", "--rare", limits["rare"]])
    page, rows = write_comparison(out, made), [_format_row(row) for row in made.table()]
    text = f"{format_table(list(rows[0]), [list(row.values()) for row in rows])}\n{made.advice}\n{page}: the whole card"
    data = {"page": str(page), **made.as_json(), "next": [step]}
    report(data, as_json=as_json, text=f"{text}\n{format_next([step])}")
    if made.chosen is None:
        raise typer.Exit(DataError.exit_code)


def _format_row(row: dict[str, Any]) -> dict[str, str]:
    """The cells of a row of `TeacherComparison.table`."""
    shown = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items()}
    return {key: "-" if value is None else str(value) for key, value in shown.items() if key != "useless"} | {
        "": "of no use" if row["useless"] else ""
    }


def _report_card(card: TeacherCard, out: Path, step: str, *, as_json: bool) -> None:
    """Write the page and its numbers, and print the advice; exit code 3 for a useless teacher."""
    from semiovs.calibration.page import write_card

    page, data = write_card(out, card), card.as_json()
    text = f"{card.advice}\n{page}: the whole card\n{format_next([step])}"
    report({"page": str(page), **data, "next": [step]}, as_json=as_json, text=text)
    if card.verdict.useless:
        raise typer.Exit(DataError.exit_code)
