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
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run, checkpoint, .safetensors or exported file.")],
    arguments: _Arguments,
    out: _Out = None,
    save: _Save = None,
    overlay: Annotated[bool, typer.Option(help="Write the picture with tinted classes and a legend.")] = True,
    scores: _Scores = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Segment the pictures of sub-folders too.")] = False,
    which: _Which = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, xpu")] = "auto",
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
    """Segment pictures: writes an id mask, a coloured mask and an overlay for each; the same command does the rest.

    Exit code 3 if one cannot be read, also with --on-error skip, which does all others.
    """
    from semiovs.config.option_texts import parse_on_error
    from semiovs.inference import Predictor
    from semiovs.inference.prediction_files import default_folder, list_jobs, parse_kinds
    from semiovs.inference.tiles import parse_tile

    wanted = _Wanted(out or default_folder(model), parse_on_error(on_error), overwrite, uncertain)
    side, kinds = parse_tile(tile), parse_kinds(save, overlay=overlay, scores=scores)
    settings, paths = _split_arguments(arguments)
    videos, paths = _split_videos(paths)
    not_read: list[str] = []
    jobs = list(list_jobs(paths, wanted.out, recursive=recursive, say=not_read.append)) if paths else []
    predictor = Predictor.load(model, which=which, device=device, precision=precision, tile=side, **settings)
    found: dict[str, Any] = {"out": str(wanted.out), "images": [], "failed": [], "not_read": not_read}
    lines: list[str] = []
    if jobs:
        kinds = kinds if uncertain is None or "ids" in kinds else ("ids", *kinds)
        run = _make_run(jobs, predictor, kinds, wanted.out, workers, batch_size)
        lines += _predict_pictures(model, jobs, run, wanted, found)
    if videos:
        found["videos"] = _predict_videos(videos, predictor, kinds, wanted, smooth, batch_size)
        lines += [f"{video['image']}: {video['frames']} frames segmented" for video in found["videos"]]
    report(found, as_json=as_json, text="\n".join(lines))
    if found["failed"]:
        raise typer.Exit(DataError.exit_code)


@dataclass(frozen=True)
class _Wanted:
    """What is asked for beside pictures and kinds of results."""

    out: Path
    handling: str
    overwrite: bool
    uncertain: int | None


def _make_run(
    jobs: Sequence[PredictionJob],
    predictor: Predictor,
    kinds: Sequence[str],
    out: Path,
    workers: int | None,
    batch_size: int | None,
) -> PredictionRun:
    from semiovs.inference.prediction_record import PredictionRecord
    from semiovs.inference.prediction_run import PredictionRun, find_threads

    record = PredictionRecord(out, predictor.fingerprint())
    together = batch_size or predictor.settings.batch_size or 1
    return PredictionRun(predictor, record, kinds, find_threads(workers, len(jobs)), together, say=log)


def _predict_pictures(
    model: Path, jobs: Sequence[PredictionJob], run: PredictionRun, wanted: _Wanted, found: dict[str, Any]
) -> list[str]:
    """Segment pictures, and fill `found` with what is told of them; returns lines for a person."""
    from semiovs.images.folder_walk import is_empty
    from semiovs.inference.prediction_files import COCO_FILE, check_targets
    from semiovs.inference.prediction_run import find_rasters

    jobs = find_rasters(jobs, run.predictor)
    if wanted.uncertain is not None and not is_empty(folder := wanted.out / "uncertain"):
        raise UsageError(f"{folder}: is there already and not empty; move it away, nothing in it is replaced")
    if there := check_targets(jobs, run.kinds, run.record, overwrite=wanted.overwrite):
        log(f"replacing {there} files")
    done = {} if wanted.overwrite else run.find_done(jobs)
    waiting = [job for job in jobs if job.name not in done]
    _print_notes(found["not_read"])
    _print_warnings(model, jobs, run)
    if again := sum(run.record.owns(job.name) for job in waiting):
        log(f"{again} pictures are done again: other weights or settings, another file, or results that are not whole")
    made, failed = _predict_waiting(waiting, run, wanted.handling)
    results = [{**done, **made}[job.name] for job in jobs if job.name in done or job.name in made]
    _print_notes(
        [f"{r['image']}: has {r['pages']} pages or frames, and the first is read" for r in results if r["pages"] > 1]
    )
    for item in failed:
        error(f"left out: {item['reason']}")
    if not results:
        raise DataError(f"none of the {len(jobs)} pictures could be read")
    found |= {"images": results, "failed": failed, "kept": len(done)}
    kept = f", {len(done)} done before" if done else ""
    lines = [f"{wanted.out}: {len(made)} pictures segmented{kept}, {len(failed)} left out"]
    lines.append(_format_legend(run.predictor, results))
    if "coco" in run.kinds:
        found["coco"] = str(wanted.out / COCO_FILE)
        _write_coco(wanted.out / COCO_FILE, results, run)
    if wanted.uncertain is not None:
        lines.append(_copy_uncertain(wanted, results, run, found))
    return lines


def _predict_waiting(
    jobs: Sequence[PredictionJob], run: PredictionRun, handling: str
) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Segment pictures with a progress bar; returns what was written by name, and what was left out and why."""
    written: dict[str, dict[str, Any]] = {}
    failed: list[dict[str, str]] = []
    unit = "tiles" if len(jobs) == 1 else "images"
    with progress("predicting", unit=unit) as show:
        run.show_tiles = show if len(jobs) == 1 else run.show_tiles
        for outcome in run.run(jobs, show):
            if outcome.result is not None:
                written[outcome.job.name] = outcome.result
            elif handling == "fail":
                done = len(written)
                rest = f" ({done} of {len(jobs)} pictures are done; --on-error skip goes past bad ones)"
                raise DataError(f"{outcome.failure}{rest if len(jobs) > 1 else ''}")
            else:
                failed.append({"image": str(outcome.job.image), "reason": str(outcome.failure)})
    return written, failed


def _predict_videos(
    videos: Sequence[Path],
    predictor: Predictor,
    kinds: Sequence[str],
    wanted: _Wanted,
    smooth: float,
    batch_size: int | None,
) -> list[dict[str, Any]]:
    from semiovs.inference.video import predict_video, video_files

    for files in (video_files(video, wanted.out, kinds) for video in videos):
        for path in files.values():
            if path.exists() and not wanted.overwrite:
                raise UsageError(f"{path}: is there already; --overwrite replaces it")
    found = []
    for video in videos:
        with progress(f"predicting {video.name}", unit="frames") as show:
            together = batch_size or predictor.settings.batch_size or 1
            found.append(
                predict_video(video, wanted.out, predictor, kinds, smooth=smooth, batch=together, progress=show)
            )
    return found


def _write_coco(path: Path, results: Sequence[dict[str, Any]], run: PredictionRun) -> None:
    from semiovs.inference.outlines import write_coco

    masks = [(Path(result["image"]).name, Path(result["ids"])) for result in results]
    write_coco(path, masks, run.predictor.vocabulary.names)


def _copy_uncertain(
    wanted: _Wanted, results: Sequence[dict[str, Any]], run: PredictionRun, found: dict[str, Any]
) -> str:
    from semiovs.inference.uncertain import copy_uncertain

    folder = wanted.out / "uncertain"
    assert wanted.uncertain is not None
    found["uncertain"] = copy_uncertain(results, folder, run.predictor.vocabulary.names, wanted.uncertain)
    return f"{folder}: the {len(found['uncertain'])} pictures of the lowest mean confidence, with their masks"


def _print_warnings(model: Path, jobs: Sequence[PredictionJob], run: PredictionRun) -> None:
    """Say whether the pictures are of another size than those of the training, and its classes others today."""
    from semiovs.engine.run_data import describe_other_classes, describe_other_size, find_training_size

    size = find_training_size(model) or run.predictor.trained_size
    images = [job.image for job in jobs]
    for line in (describe_other_size(size, images), describe_other_classes(model, run.predictor.vocabulary)):
        if line:
            log(line)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        log(f"note: {note}")


def _format_legend(predictor: Predictor, written: Sequence[dict[str, Any]]) -> str:
    """Mean share of each class over all pictures."""
    total: Counter[str] = Counter()
    for item in written:
        total.update(item["classes"])
    shares = ", ".join(f"{name} {100 * share / len(written):.1f}%" for name, share in total.most_common())
    return f"classes: {shares} (of {len(predictor.vocabulary)})"


def _split_videos(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Videos, and the other paths."""
    from semiovs.images.conventions import FILM_SUFFIXES

    videos = [path for path in paths if path.suffix.lower() in FILM_SUFFIXES]
    return videos, [path for path in paths if path not in videos]


def _split_arguments(arguments: Sequence[str]) -> tuple[dict[str, Any], list[Path]]:
    """``key=value`` arguments as settings of ``eval.*``, and the others as paths."""
    from semiovs.config import load_config

    pairs = [text for text in arguments if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in arguments if text not in pairs]
    if not paths:
        raise UsageError("no pictures: name files or folders")
    loaded = load_config(None, pairs)
    given = [key for key, origin in loaded.origins.items() if origin == "command line"]
    foreign = [key for key in given if not key.startswith("eval.")]
    if foreign:
        raise UsageError(f"{foreign[0]}: predict takes eval.* (mode, window, stride, multiple, scales, flip)")
    values = loaded.values()
    return {key.removeprefix("eval."): values[key] for key in given}, paths
