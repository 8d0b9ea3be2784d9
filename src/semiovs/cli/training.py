"""What `train`, `ovs train` and `resume` share: running a training, and telling what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import report

if TYPE_CHECKING:
    from semiovs.engine.training import TrainingResult

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check the data, take three steps, say shapes, memory and time; write nothing."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that lies in run.dir.")]


def run_training(
    arguments: Sequence[str], *, first: Sequence[str] = (), dry_run: bool, overwrite: bool, as_json: bool
) -> TrainingResult | None:
    """Train, or (with `dry_run`) report what it would be and return None; first: values under those of `arguments`."""
    from semiovs.config import load_config, split_source
    from semiovs.engine import training
    from semiovs.engine.distributed import is_main
    from semiovs.engine.dry_run import dry_run as rehearse
    from semiovs.engine.dry_run import format_dry_run
    from semiovs.engine.run import get_command_line

    source, overrides = split_source(arguments)
    loaded = load_config(source, [*first, *overrides])
    if not dry_run:
        return training.train(loaded, get_command_line(), overwrite=overwrite)
    found = rehearse(loaded.config)
    if is_main():
        report(found, as_json=as_json, text=format_dry_run(found))
    return None


def tell_outcome(outcome: TrainingResult, *, as_json: bool) -> None:
    """Print what a run came to, and what to do next; the main process alone speaks."""
    from semiovs.engine.distributed import is_main

    if not is_main():
        return
    run = outcome.directory
    lines = [f"{name}: mIoU {miou:.2f} at the end (step {outcome.step})" for name, miou in outcome.last.items()]
    if outcome.best is not None:
        lines.append(f"best: {outcome.best['model']} mIoU {outcome.best['miou']:.2f} at step {outcome.best['step']}")
    lines += [f"run: {run}", f"next: semiovs evaluate {run}", f"      semiovs predict {run} IMAGES…"]
    report(outcome.as_json(), as_json=as_json, text="\n".join(lines))
