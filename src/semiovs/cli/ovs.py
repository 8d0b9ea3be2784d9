"""``semiovs ovs``: train an open-vocabulary teacher."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.training import DryRun, Overwrite, run_training

if TYPE_CHECKING:
    from semiovs.engine.training import TrainingResult

ovs = typer.Typer(help="Train an open-vocabulary teacher.", add_completion=False, rich_markup_mode=None)

#: Settings that turn `semiovs train` into the training of a teacher.
TEACHER = ("method.name=sed", "model.name=sed")
#: The recipe for the images of a configuration of a student.
RECIPE = "modern/ovs-small"


@ovs.callback()
def group() -> None:
    """Train an open-vocabulary teacher."""


@ovs.command()
def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...", help="Preset (modern/ovs-small), YAML or folder; then values on top."
        ),
    ] = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train SED on labelled images with class names: `semiovs train` with method=sed and model=sed.

    Of a configuration of a student, such as `init` writes, it takes all but model, method and OOD images.
    """
    given = arguments or []
    first = [*_choose_recipe(given), *TEACHER]
    outcome = run_training(["ovs", "train"], given, first=first, dry_run=dry_run, overwrite=overwrite, as_json=as_json)
    if outcome is not None:
        report_outcome(outcome, as_json=as_json)


def _choose_recipe(arguments: Sequence[str]) -> list[str]:
    """Settings that put the recipe of a teacher in the place of a student's; none where there is one already.

    What the user's file itself says of data and training stays above the recipe.
    """
    from semiovs.config import load_config, split_source
    from semiovs.config.layers import DEFAULT
    from semiovs.config.yaml_reader import format_inline

    source, overrides = split_source(arguments)
    if source is None or (student := load_config(source)).config.method.name == "sed":
        return []
    settings = [] if student.config.ood is None else ["ood=null"]
    if any(text.startswith("extends=") for text in overrides):
        return settings
    log(f"{source}: its images and classes, with the recipe {RECIPE} (extends=NAME takes another)")
    recipe = load_config(RECIPE)
    own, values = student.values(), recipe.values()
    for key, origin in student.origins.items():
        if key.startswith(("method.", "optim.")) and key in values and origin != DEFAULT:
            settings.append(f"{key}={format_inline(values[key])}")
        elif key.startswith(("data.", "train.", "eval.")) and recipe.origins.get(key, DEFAULT) != DEFAULT:
            settings += [f"{key}={format_inline(own[key])}"] if _is_own(origin) else []
    return [f"extends={RECIPE}", *settings]


def _is_own(origin: str) -> bool:
    """Whether a value stands in the user's file."""
    from semiovs.config.layers import DEFAULT

    return origin != DEFAULT and not origin.startswith("preset ")


def report_outcome(outcome: TrainingResult, *, as_json: bool) -> None:
    """Print the result of a run and the next commands, in the main process only."""
    from semiovs.engine.distributed import is_main

    if not is_main():
        return
    run = outcome.directory
    lines = [f"{name}: mIoU {miou:.2f} at the end (step {outcome.step})" for name, miou in outcome.last.items()]
    start = shlex.quote(str(run))
    steps = [f"semiovs evaluate {start}"] if outcome.images.val else []
    label = f"semiovs label {start} --teacher sed --weights {start} --images DIR --out STORE"
    steps.append(f"# DIR: images from elsewhere, STORE: their labels: {label}")
    lines += [f"run: {run}", format_next(steps)]
    report({**outcome.as_json(), "next": steps}, as_json=as_json, text="\n".join(lines))
