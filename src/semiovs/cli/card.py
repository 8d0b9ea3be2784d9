"""``semiovs card``: measure a teacher on the labelled images and write a page about it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress


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
    risk: options.Risk = 0.1,
    rare: options.RareClasses = "global",
    folds: options.Folds = 5,
    batch_size: options.BatchSize = 1,
    as_json: Json = False,
) -> None:
    """Score a teacher on the labelled images, before any training; evaluation masks are never read."""
    from semiovs.calibration.calibration import identify_teacher
    from semiovs.calibration.card import make_card
    from semiovs.calibration.page import write_card_page
    from semiovs.files import write_json

    kind = options.parse_rare(rare)
    images = options.read_labeled_images(arguments or [])
    choice = options.TeacherChoice(teacher, weights, from_, map_, set_ or [])
    asked = choice.build()
    with progress("asking the teacher") as show:
        made = make_card(
            asked,
            identify_teacher(teacher, asked),
            images.labeled,
            images.masks,
            images.vocabulary,
            risk=risk,
            rare=kind,
            folds=folds,
            batch_size=batch_size,
            progress=show,
            read=images.images.read_rgb,
        )
    page = out / "card.html"
    write_card_page(page, made)
    data = made.as_json()
    write_json(out / "card.json", data)
    limits = ["--risk", f"{risk:g}", "--rare", rare]
    steps = [shlex.join(["semiovs", "calibrate", *(arguments or []), *choice.arguments(same_images=True), *limits])]
    text = f"{made.advice}\n{page}: the whole card\n{format_next(steps)}"
    report({"page": str(page), **data, "next": steps}, as_json=as_json, text=text)
