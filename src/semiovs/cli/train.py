"""``semiovs train``: from a preset or YAML to a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, report

if TYPE_CHECKING:
    from semiovs.engine.training import TrainingResult


def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="Preset (pascal/92), YAML file, or folder with a semiovs.yaml; then values on top.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the data, take three steps, say shapes, memory and time; write nothing."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that lies in run.dir.")] = False,
    as_json: Json = False,
) -> None:
    """Train. Works alone, or in many processes: torchrun --nproc-per-node 2 -m semiovs train …"""
    outcome = trained(arguments or [], dry_run=dry_run, overwrite=overwrite, as_json=as_json)
    if outcome is not None:
        tell(outcome, as_json=as_json)


def trained(
    arguments: Sequence[str], *, first: Sequence[str] = (), dry_run: bool, overwrite: bool, as_json: bool
) -> TrainingResult | None:
    """Train, or (with `dry_run`) report what it would be and return None; first: values under those of `arguments`."""
    from semiovs.config import load_config, split_source
    from semiovs.engine import dry_run as trial
    from semiovs.engine import training
    from semiovs.engine.distributed import is_main
    from semiovs.engine.run import get_command_line

    source, overrides = split_source(arguments)
    loaded = load_config(source, [*first, *overrides])
    if not dry_run:
        return training.train(loaded, get_command_line(), overwrite=overwrite)
    found = trial.dry_run(loaded.config)
    if is_main():
        report(found, as_json=as_json, text=trial.format_dry_run(found))
    return None


def tell(outcome: TrainingResult, *, as_json: bool) -> None:
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
