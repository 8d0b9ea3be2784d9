"""Options of the verbs that run a teacher (label, calibrate, card, select, compare), and how they are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import log
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.data.collection import Collection
    from semiovs.engine.teacher_choice import TeacherChoice

Labeled = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG [KEY=VALUE]...", help="Configuration with labelled images (data.labeled) and classes."
    ),
]
Teacher = Annotated[
    str, typer.Option(help="Teacher that labels (semiovs list teachers), or auto: the one that is at hand.")
]
Yes = Annotated[bool, typer.Option("--yes", help="With --teacher auto: fetch weights without being asked.")]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="DIR", help="Teacher masks: folder of existing masks or score maps."),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="Teacher masks: class of each value, '7=road,8=ignore', or a YAML file with them; may be repeated.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="OPTION=VALUE", help="Any other option of the teacher; may be repeated."),
]
Weights = Annotated[Path | None, typer.Option(help="Weights of the teacher.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch of the teacher; reduced if memory runs out.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads that read images, and as many that write labels; default: one per core."),
]
Shard = Annotated[
    str,
    typer.Option(
        metavar="I/N", help="Label every N-th image from the I-th on (from 0); the processes of torchrun share them."
    ),
]
Risk = Annotated[float, typer.Option(help="Largest allowed share of wrong pixels among the kept ones of a class.")]
OptionalRisk = Annotated[
    float | None,
    typer.Option(
        help="Largest allowed share of wrong pixels among the kept ones of a class.",
        show_default="0.1, or twice the least that few images support",
    ),
]
RareClasses = Annotated[
    str,
    typer.Option(
        metavar="global|ignore", help="Classes with too few images: use the common threshold, or ignore them."
    ),
]
Folds = Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="REGEX",
        help="Labelled images whose ids give the same first group are in one fold, such as frames of one film.",
    ),
]


def type_teacher(
    name: str,
    weights: Path | None,
    from_: Path | None,
    map_: Sequence[str] | None,
    set_: Sequence[str] | None,
) -> TeacherChoice:
    """The teacher of ``--teacher``, ``--weights``, ``--from``, ``--map`` and ``--set``."""
    from semiovs.engine.teacher_choice import TeacherChoice

    return TeacherChoice(name, weights, from_, map_, set_ or [])


def make_agree(*, yes: bool) -> Callable[[str], bool | None]:
    """How weights are fetched (`TeacherChoice.resolve`): `yes` agrees, else the user is asked, where there is one."""

    def agree(offer: str) -> bool | None:
        if yes or not sys.stdin.isatty():
            return yes or None
        return typer.confirm(f"{offer}. Fetch it?", err=True)

    return agree


def read_labeled_images(
    arguments: Sequence[str], teacher: TeacherChoice, *, yes: bool
) -> tuple[Collection, TeacherChoice]:
    """Read only the labelled images of the configuration; also returns the teacher to ask (`TeacherChoice.resolve`)."""
    from semiovs.config import load_config, split_source
    from semiovs.engine import teacher_choice

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        raise UsageError("give a configuration with labelled images, or data.root=DIR")
    config = load_config(source, overrides).config
    return teacher_choice.read_labeled_images(config, teacher, agree=make_agree(yes=yes), say=log)
