"""``semiovs predict``: segment pictures and videos into masks and overlays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, error, log, report
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.inference import Predictor
    from semiovs.inference.prediction_files import PredictionJob
    from semiovs.inference.prediction_run import PredictionRun

_Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES... [KEY=VALUE]...",
        help="Files, folders, lists, tars, patterns, or videos; and settings such as eval.mode=sliding.",
    ),
]
_Save = Annotated[
    str | None,
    typer.Option(
        metavar="KINDS",
        help="What to write: some of ids,color,overlay,confidence,scores,geojson,coco. Default: ids,color,overlay.",
    ),
]
_Scores = Annotated[bool, typer.Option("--scores", help="Write class probabilities, float16 (K, H, W) .npz.")]
_Which = Annotated[str | None, typer.Option("--model", help="student or ema; default: ema where there is one.")]
_Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder for the results; default: predictions in the run, or beside the weights."
    ),
]
_OnError = Annotated[
    str, typer.Option(metavar="skip|fail", help="On a picture that cannot be read: leave it out, or stop.")
]
_Tile = Annotated[
    str,
    typer.Option(
        metavar="auto|PIXELS",
        help="Side of the blended tiles of larger pictures; auto: 1024, for those that would take more than 4 GiB.",
    ),
]
_Batch = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Pictures of one size that go through together; default: 1.")
]
_Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Threads that read, segment and write; default: one a core, at most 4."),
]
_Uncertain = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Copy the N least certain pictures and their masks into DIR/uncertain."),
]
_Smooth = Annotated[
    float,
    typer.Option(min=0, max=0.99, help="Videos: weight of earlier frames in the mean of the scores; 0: each alone."),
]
_Precision = Annotated[str, typer.Option(help="fp32, bf16 or fp16.")]


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, checkpoint or .safetensors file.")],
    arguments: _Arguments,
    out: _Out = None,
    save: _Save = None,
    overlay: Annotated[bool, typer.Option(help="Write the picture with tinted classes and a legend.")] = True,
    scores: _Scores = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Segment the pictures of sub-folders too.")] = False,
    which: _Which = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    precision: _Precision = "fp32",
    tile: _Tile = "auto",
    batch_size: _Batch = None,
    workers: _Workers = None,
    smooth: _Smooth = 0.0,
    uncertain: _Uncertain = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    on_error: _OnError = "fail",
    as_json: Json = False,
) -> None:
    """Segment pictures: writes an id mask, a coloured mask and an overlay for each; the same command does the rest."""
    from semiovs.config.option_texts import parse_on_error
    from semiovs.inference import Predictor
    from semiovs.inference.prediction_files import default_folder, list_jobs, parse_kinds
    from semiovs.inference.tiles import parse_tile

    handling, side = parse_on_error(on_error), parse_tile(tile)
    kinds = parse_kinds(save, overlay=overlay, scores=scores)
    kinds = kinds if uncertain is None or "ids" in kinds else ("ids", *kinds)
    out = out or default_folder(model)
    settings, paths = _split_arguments(arguments)
    not_read: list[str] = []
    videos, paths = _split_videos(paths)
    jobs = list(list_jobs(paths, out, recursive=recursive, say=not_read.append)) if paths or not videos else []

    def load() -> Predictor:
        return Predictor.load(model, which=which, device=device, precision=precision, tile=side, **settings)

    task = _Task(model, out, kinds, handling, workers, batch_size, uncertain, overwrite)
    found: dict[str, Any] = {"out": str(out), "images": [], "failed": [], "not_read": not_read}
    lines: list[str] = []
    predictor: Predictor | None = None
    if jobs:
        predictor = task.check_and_load(jobs, load)
        _print_notes(not_read)
        lines += task.predict_pictures(jobs, predictor, found)
    if videos:
        found["videos"] = task.predict_videos(videos, predictor or load(), smooth)
        lines += [f"{one['ids']}: {one['frames']} frames" for one in found["videos"]]
    report(found, as_json=as_json, text="\n".join(lines))


@dataclass
class _Task:
    """What was asked for beside pictures and model."""

    model: Path
    out: Path
    kinds: Sequence[str]
    handling: str
    workers: int | None
    batch_size: int | None
    uncertain: int | None
    overwrite: bool
    ...


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        log(f"note: {note}")
