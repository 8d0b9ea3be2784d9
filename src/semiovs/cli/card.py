"""``semiovs card``: measure a teacher on the labelled images and write a page about it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, report
from semiovs.cli.next_steps import format_next, propose_another_teacher
from semiovs.cli.progress import progress
from semiovs.errors import DataError

if TYPE_CHECKING:
    from semiovs.calibration.card import TeacherCard


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
    typed = options.type_teacher(teacher, weights, from_, map_, set_)
    images, choice = options.read_labeled_images(arguments or [], typed, yes=yes)
    with progress("asking the teacher") as show:
        made = measure_teacher(choice, images, risk=risk, rare=kind, folds=folds, batch_size=batch_size, progress=show)
    limits = ["--risk", f"{made.calibration.risk:g}", "--rare", rare]
    calibrate = shlex.join(["semiovs", "calibrate", *(arguments or []), *choice.arguments(same_images=True), *limits])
    _report_card(
        made, out, propose_another_teacher(arguments or []) if made.verdict.useless else calibrate, as_json=as_json
    )


def _report_card(card: TeacherCard, out: Path, step: str, *, as_json: bool) -> None:
    """Write the page and its numbers, and print the advice; exit code 3 for a useless teacher."""
    from semiovs.calibration.page import write_card

    page, data = write_card(out, card), card.as_json()
    text = f"{card.advice}\n{page}: the whole card\n{format_next([step])}"
    report({"page": str(page), **data, "next": [step]}, as_json=as_json, text=text)
    if card.verdict.useless:
        raise typer.Exit(DataError.exit_code)
