"""``semiovs ovs``: train an open-vocabulary teacher."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.training import DryRun, Overwrite, run_training

if TYPE_CHECKING:
    from semiovs.engine.training import TrainingResult

ovs = typer.Typer(help="Train an open-vocabulary teacher.", add_completion=False, rich_markup_mode=None)

#: Settings that turn `semiovs train` into the training of a teacher.
TEACHER = ("method.name=sed", "model.name=sed")


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
    """Train SED on labelled images with class names: `semiovs train` with method=sed and model=sed."""
    outcome = run_training(
        ["ovs", "train"], arguments or [], first=TEACHER, dry_run=dry_run, overwrite=overwrite, as_json=as_json
    )
    if outcome is not None:
        report_outcome(outcome, as_json=as_json)


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
