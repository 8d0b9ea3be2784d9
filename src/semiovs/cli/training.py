"""Run a training and print its result; used by `train`, `ovs train` and `resume`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import log, report
from semiovs.cli.next_steps import format_next, propose_prediction
from semiovs.cli.progress import progress
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.engine.training import TrainingResult

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check the data, take a few steps, score an image, report shapes, memory and time; write nothing.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing run in run.dir.")]

GoOn = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the run that lies in run.dir, if there is one: a command to repeat."),
]


def run_training(
    verb: Sequence[str],
    arguments: Sequence[str],
    *,
    first: Sequence[str] = (),
    dry_run: bool,
    overwrite: bool,
    go_on: bool = False,
    as_json: bool,
) -> TrainingResult | None:
    """Train; with `dry_run`, report shapes, memory and time instead and return None.

    verb: as it was typed; first: settings that those of `arguments` override; go_on: with
    the run in `run.dir`, if there is one.

    Raises:
        UsageError: `overwrite` and `go_on` at once; others as `semiovs.engine.training.train`.
    """
    from semiovs.config import load_config, split_source
    from semiovs.engine import training
    from semiovs.engine.distributed import is_main
    from semiovs.engine.dry_run import dry_run as rehearse
    from semiovs.engine.dry_run import format_dry_run
    from semiovs.engine.run import get_command_line

    if overwrite and go_on:
        raise UsageError("--overwrite removes the run that --resume goes on with; give one of them")
    source, overrides = split_source(arguments)
    loaded = load_config(source, [*first, *overrides])
    if not dry_run:
        return training.train(loaded, get_command_line(), overwrite=overwrite, go_on=go_on)
    found = rehearse(loaded.config)
    if is_main():
        steps = [shlex.join(["semiovs", *verb, *arguments])]
        text = f"{format_dry_run(found)}\n{format_next(steps)}"
        report({**found, "next": steps}, as_json=as_json, text=text)
    return None


def report_outcome(outcome: TrainingResult, *, as_json: bool) -> None:
    """Write the page of a run; print its result and the next commands, in the main process only."""
    from semiovs.engine.distributed import is_main

    if not is_main():
        return
    run, page = outcome.directory, _write_page(outcome)
    lines = [f"{name}: mIoU {miou:.2f} at the end (step {outcome.step})" for name, miou in outcome.last.items()]
    if outcome.best is not None:
        lines.append(f"best: {outcome.best['model']} mIoU {outcome.best['miou']:.2f} at step {outcome.best['step']}")
    steps = [shlex.join(["semiovs", "evaluate", str(run)])] if outcome.images.val else []
    steps.append(propose_prediction(run, outcome.images))
    lines += [f"run: {run}", *([] if page is None else [f"page: {page}"]), format_next(steps)]
    report({**outcome.as_json(), "page": page, "next": steps}, as_json=as_json, text="\n".join(lines))


def _write_page(outcome: TrainingResult) -> Path | None:
    """The page of the run; None, with a warning, where it cannot be written: the training is done all the same."""
    from semiovs.engine.run import Run
    from semiovs.run_page.page import write_run_page

    try:
        with progress("writing the page of the run") as show:
            write_run_page(outcome.directory, images=outcome.images, progress=show)
    except Exception as problem:
        told = " ".join(str(problem).split()) or type(problem).__name__
        log(f"warning: the page of the run was not written: {told}")
        return None
    return Run(outcome.directory).page
