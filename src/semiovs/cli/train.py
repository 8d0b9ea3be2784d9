"""``semiovs train``: train from a preset or YAML file into a run directory."""

from __future__ import annotations

from typing import Annotated

import typer

from semiovs.cli.console import Json
from semiovs.cli.training import DryRun, GoOn, Overwrite, report_outcome, run_training


def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="Preset (pascal/92), YAML file, or folder with a semiovs.yaml; then values on top.",
        ),
    ] = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    go_on: GoOn = False,
    as_json: Json = False,
) -> None:
    """Train, in one process or in several: torchrun --nproc-per-node 2 -m semiovs train …"""
    outcome = run_training(
        ["train"], arguments or [], dry_run=dry_run, overwrite=overwrite, go_on=go_on, as_json=as_json
    )
    if outcome is not None:
        report_outcome(outcome, as_json=as_json)
