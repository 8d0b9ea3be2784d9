"""``semiovs resume``: continue a run that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli.console import Json
from semiovs.cli.training import report_outcome


def resume(
    run: Annotated[Path, typer.Argument(help="Run directory, such as runs/NAME/latest.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings that do not affect the result: data.root, data.workers, train.device, train.save_every, …",
        ),
    ] = None,
    changed_data: Annotated[
        bool, typer.Option("--changed-data", help="Go on with other images or masks: not the same run any more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Continue a run from its newest valid checkpoint; on a CPU the result is the same bit for bit."""
    from semiovs.engine.run import get_command_line
    from semiovs.engine.training import resume as continue_run

    outcome = continue_run(run, overrides or [], get_command_line(), changed_data=changed_data)
    report_outcome(outcome, as_json=as_json)
