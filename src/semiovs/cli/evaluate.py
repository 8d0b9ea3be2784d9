"""``semiovs evaluate``: per-class IoU of the checkpoints of a run, or of weights, on images with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next, propose_prediction
from semiovs.cli.progress import progress


class ImageChoice(StrEnum):
    """Images to evaluate on."""

    VAL = "val"
    LABELED = "labeled"


def evaluate(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Run, checkpoint, .safetensors or exported file.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...", help="Used instead of the run's own configuration; then single values."
        ),
    ] = None,
    split: Annotated[ImageChoice, typer.Option(help="Images to evaluate on.")] = ImageChoice.VAL,
    which: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="student|ema",
            help="Model to evaluate; default: eval.model, else ema where there is one.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="best|last|PATH", help="Checkpoint of the run; default: best and last.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score the best and last checkpoint of a run; with its own configuration, results are also written to its
    eval.json.
    """
    from semiovs.config import split_source
    from semiovs.engine.run_scores import score_run

    given, overrides = split_source(arguments or [])
    scores = score_run(
        source, given, overrides, split=split.value, which=which, checkpoint=checkpoint, show=progress, say=log
    )
    steps = [propose_prediction(source, scores.images)]
    found = scores.as_json()
    text = _format_text(found, scores.classes, f"{split.value}, {scores.count} images")
    data = {"source": str(source), "split": split.value, **found, "next": steps}
    report(data, as_json=as_json, text=f"{text}\n{format_next(steps)}")


def _format_text(found: Mapping[str, Mapping[str, Any]], names: Sequence[str], title: str) -> str:
    """IoU a class and checkpoint, then the means; all in percent."""
    columns = [f"{name} (step {r['step']})" if r["step"] is not None else name for name, r in found.items()]
    results = list(found.values())
    rows = [[name, *(_format_cell(name, result) for result in results)] for name in names]
    means = {"mIoU": "miou", "mIoU, present classes": "miou_present", "pixel accuracy": "pixel_accuracy"}
    rows += [[label, *(f"{result[key]:.2f}" for result in results)] for label, key in means.items()]
    lines = [format_table(["class", *columns], rows, title=f"IoU in percent: {title}")]
    if any(result["absent"] for result in results):
        lines.append(
            "-: not in the masks; counts 0 in mIoU, as published, and not at all in the mean over present classes"
        )
    return "\n".join(lines)


def _format_cell(name: str, result: Mapping[str, Any]) -> str:
    return "-" if name in result["absent"] else f"{result['iou'][name]:.2f}"
