"""``semiovs train``: from a preset or YAML to a run directory."""

from __future__ import annotations

from typing import Annotated

import typer

from semiovs.cli.console import Json
from semiovs.cli.training import DryRun, Overwrite, run_training, tell_outcome


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
    as_json: Json = False,
) -> None:
    """Train. Works alone, or in many processes: torchrun --nproc-per-node 2 -m semiovs train …"""
    outcome = run_training(arguments or [], dry_run=dry_run, overwrite=overwrite, as_json=as_json)
    if outcome is not None:
        tell_outcome(outcome, as_json=as_json)
