"""``semiovs card``: what a teacher is worth on the labelled images, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli.calibrate import (
    Arguments,
    BatchSize,
    Folds,
    From,
    Map,
    RareClasses,
    Risk,
    Set,
    Teacher,
    Weights,
    examined,
    rare_of,
)
from semiovs.cli.console import Json, report
from semiovs.cli.progress import progress


def card(
    arguments: Arguments = None,
    teacher: Teacher = "masks",
    from_: From = None,
    map_: Map = None,
    set_: Set = None,
    weights: Weights = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of card.html and card.json.")] = Path("teacher-card"),
    risk: Risk = 0.1,
    rare: RareClasses = "global",
    folds: Folds = 5,
    batch_size: BatchSize = 1,
    as_json: Json = False,
) -> None:
    """Score a teacher on the labelled images before any training; evaluation masks are never read."""
    from semiovs.calibration.card import make_card
    from semiovs.calibration.page import write_card_page
    from semiovs.files import write_json

    kind = rare_of(rare)
    pupil = examined(arguments or [], teacher, weights, (from_, map_, set_ or []))
    with progress("asking the teacher") as show:
        made = make_card(
            pupil.teacher, pupil.who, pupil.sources.labeled, pupil.sources.masks, pupil.sources.vocabulary,
            risk=risk, rare=kind, folds=folds, batch_size=batch_size, progress=show, read=pupil.sources.images.rgb,
        )  # fmt: skip
    page = out / "card.html"
    write_card_page(page, made)
    data = made.as_json()
    write_json(out / "card.json", data)
    report({"page": str(page), **data}, as_json=as_json, text=f"{made.advice}\n{page}: the whole card")
