"""`semiovs.card`: what a teacher is worth on the labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from semiovs.api.session import session
from semiovs.api.settings import Setting, Source, load
from semiovs.api.teacher import Place, choose_teacher, make_agree
from semiovs.calibration.card import TeacherCard, measure_teacher
from semiovs.calibration.page import write_card
from semiovs.config.option_texts import parse_rare
from semiovs.engine.teacher_choice import AUTO, read_labeled_images


def card(
    config: Source | None = None,
    *settings: Setting,
    teacher: str = AUTO,
    weights: Place | None = None,
    from_: Place | None = None,
    map: Mapping[Any, Any] | None = None,  # noqa: A002 - the option's name
    options: Mapping[str, Any] | None = None,
    out: Place | None = None,
    risk: float | None = None,
    rare: Literal["global", "ignore"] = "global",
    folds: int = 5,
    group_by: str | None = None,
    batch_size: int = 1,
    download: bool = False,
    progress: bool = True,
) -> TeacherCard:
    """Score a teacher on the labelled images of a configuration, as ``semiovs card``; a notebook shows it.

    config, settings: as `semiovs.train`; teacher, weights, ``from_``, map, options, download: as `semiovs.label`; out:
    folder for card.html and card.json, none by default; risk: largest share of wrong pixels among the kept ones, by
    default 0.1, or twice the least that few images support; rare: what happens to classes with few images; folds: of
    the cross-validation; group_by: pattern; images whose ids give the same first group are in one fold.

    Raises:
        UsageError, ConfigError, WeightsError, DataError: the configuration, the teacher or the images.
    """
    loaded, kind = load(config, settings), parse_rare(rare)
    asked = choose_teacher(teacher, weights, from_, map, options)
    with session(progress=progress) as call:
        agree = make_agree(download=download)
        images, choice = read_labeled_images(loaded.config, asked, agree=agree, say=call.say)
        with call.show("asking the teacher") as show:
            made = measure_teacher(
                choice,
                images,
                risk=risk,
                rare=kind,
                folds=folds,
                group=group_by,
                batch_size=batch_size,
                progress=show,
            )
        if out is not None:
            write_card(Path(out).expanduser(), made)
    return made
