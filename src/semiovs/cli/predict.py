"""``semiovs predict``: segment pictures into masks and overlays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, error, log, report
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.inference import Predictor
    from semiovs.inference.prediction_files import PredictionJob


_Arguments = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES... [KEY=VALUE]...", help="Files, folders, tars; and settings such as eval.mode=sliding."
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


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run, checkpoint, .safetensors or exported file.")],
    arguments: _Arguments,
    out: _Out = None,
    overlay: Annotated[bool, typer.Option(help="Write the picture with tinted classes and a legend.")] = True,
    scores: _Scores = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Segment the pictures of sub-folders too.")] = False,
    which: _Which = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    on_error: _OnError = "fail",
    as_json: Json = False,
) -> None:
    """Segment pictures: writes an id mask, a coloured mask and an overlay for each."""
    from semiovs.config.option_texts import parse_on_error
    from semiovs.engine.run_data import describe_other_classes, describe_other_size, find_training_size
    from semiovs.inference import Predictor
    from semiovs.inference.prediction_files import check_targets, default_folder, list_jobs

    handling = parse_on_error(on_error)
    out = out or default_folder(model)
    settings, paths = _split_arguments(arguments)
    not_read: list[str] = []
    jobs = list(list_jobs(paths, out, recursive=recursive, say=not_read.append))
    if there := check_targets(jobs, pictures=overlay, scores=scores, overwrite=overwrite):
        log(f"replacing {there} files")
    predictor = Predictor.load(model, which=which, device=device, **settings)
    _print_notes(not_read)
    size = find_training_size(model) or predictor.trained_size
    for line in (
        describe_other_size(size, [job.image for job in jobs]),
        describe_other_classes(model, predictor.vocabulary),
    ):
        if line:
            log(line)
    written, failed = _predict_all(jobs, predictor, handling, pictures=overlay, scores=scores)
    pages = ((made["image"], made["pages"]) for made in written)
    _print_notes([f"{image}: has {n} pages or frames, and the first is read" for image, n in pages if n > 1])
    for item in failed:
        error(f"left out: {item['reason']}")
    if not written:
        raise DataError(f"none of the {len(jobs)} pictures could be read")
    text = f"{out}: {len(written)} pictures segmented, {len(failed)} left out\n{_format_legend(predictor, written)}"
    report({"out": str(out), "images": written, "failed": failed, "not_read": not_read}, as_json=as_json, text=text)


def _predict_all(
    jobs: Sequence[PredictionJob], predictor: Predictor, handling: str, **kinds: bool
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Segment pictures with a progress bar; returns what was written, and what was left out and why."""
    from semiovs.inference.prediction_files import write_prediction

    written: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with progress("predicting") as show:
        for done, job in enumerate(jobs, start=1):
            try:
                written.append(write_prediction(job, predictor, **kinds))
            except DataError as failure:
                if handling == "fail":
                    rest = f" ({done - 1} of {len(jobs)} pictures are done; --on-error skip goes past bad ones)"
                    raise DataError(f"{failure}{rest if len(jobs) > 1 else ''}") from None
                failed.append({"image": str(job.image), "reason": str(failure)})
            show(done, len(jobs))
    return written, failed


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
