"""``semiovs evaluate``: per-class IoU of the checkpoints of a run, or of weights, on images with masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next, propose_prediction
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError, WeightsError

if TYPE_CHECKING:
    from semiovs.config import Config
    from semiovs.data.collection import Collection
    from semiovs.evaluation import Evaluation
    from semiovs.vocab import Vocabulary

_NAMED: tuple[Literal["best"], Literal["last"]] = ("best", "last")


class ImageChoice(StrEnum):
    """Images to evaluate on."""

    VAL = "val"
    LABELED = "labeled"


def evaluate(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, checkpoint or .safetensors file.")],
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
    from semiovs.config import load_config, split_source

    given, overrides = split_source(arguments or [])
    files = _find_files(source, checkpoint)
    config = load_config(given or _find_config(source, overrides), overrides).config
    sources = _read_images(config)
    manifest = sources.labeled if split is ImageChoice.LABELED else sources.val
    if manifest is None:
        raise DataError("no images to evaluate: set data.val to a list or folder with masks, or use --split labeled")
    _tell_other_size(source, [record.image for record in manifest])
    found: dict[str, dict[str, Any]] = {}
    scored: dict[tuple[int, int], tuple[dict[str, Any], Evaluation]] = {}
    for name, path in files.items():
        if (same := _identify(path)) not in scored:
            scored[same] = _score(path, which or config.eval.model, config, sources, manifest)
        facts, result = scored[same]
        found[name] = {**facts, **result.as_json(sources.vocabulary.names)}
    if source.is_dir() and not (given or overrides):
        _keep_scores(source / "eval.json", split.value, found)
        if split is ImageChoice.VAL:
            _keep_counts(source, {name: scored[_identify(path)] for name, path in files.items()})
    steps = [propose_prediction(source, sources)]
    data = {"source": str(source), "split": split.value, **found, "next": steps}
    text = _format_text(found, sources.vocabulary.names, f"{split.value}, {len(manifest)} images")
    report(data, as_json=as_json, text=f"{text}\n{format_next(steps)}")


def _identify(path: Path) -> tuple[int, int]:
    """Device and number of a file: best.pt is a hard link, last.pt a symbolic one."""
    there = path.stat()
    return there.st_dev, there.st_ino


def _tell_other_size(source: Path, images: Sequence[Path]) -> None:
    from semiovs.engine.run_data import describe_other_size, find_training_size

    if line := describe_other_size(find_training_size(source), images):
        log(line)


def _find_files(source: Path, checkpoint: str | None) -> dict[str, Path]:
    """Name -> weight file of each checkpoint that is asked for."""
    from semiovs.models.weights import find_model

    if not source.is_dir():
        if checkpoint is not None:
            raise UsageError(f"--checkpoint: {source} is no run directory")
        return {source.stem: find_model(source)}
    folder = source / "checkpoints"
    there: dict[str, Path] = {name: folder / f"{name}.pt" for name in _NAMED if (folder / f"{name}.pt").is_file()}
    if checkpoint is None:
        return there or {"model": find_model(source)}
    if checkpoint in _NAMED:
        if checkpoint not in there:
            raise WeightsError(
                f"{folder / checkpoint}.pt: not there; this run has {', '.join(there) or 'no checkpoint'}"
            )
        return {checkpoint: there[checkpoint]}
    for path in (Path(checkpoint), folder / checkpoint, folder / f"{checkpoint}.pt"):
        if path.is_file():
            return {path.stem: path}
    raise WeightsError(f"--checkpoint {checkpoint}: no such file, and not in {folder}")


def _find_config(source: Path, overrides: Sequence[str]) -> str | None:
    """Find the configuration of the run that `source` is or lies in."""
    for folder in (source, source.parent, source.parent.parent):
        if (folder / "config.yaml").is_file():
            return str(folder)
    if overrides:
        return None
    raise UsageError(f"{source} lies in no run: name a configuration after it, or give data.root=DIR")


def _read_images(config: Config) -> Collection:
    """Read the images of the configuration; its section `ood` is not used."""
    from semiovs.registry import DATASETS, lookup

    sources: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).read()
    return sources


def _score(
    path: Path, which: str | None, config: Config, sources: Collection, manifest: Any
) -> tuple[dict[str, Any], Evaluation]:
    """Evaluate a weight file: facts about it, and its scores."""
    from semiovs.evaluation import evaluate as score
    from semiovs.inference import pick_device
    from semiovs.models.weights import load_model

    device = pick_device(config.train.device)
    segmenter, card = load_model(path, which=which, device=device)
    _require_same_classes(path, card.vocabulary, sources.vocabulary)
    with progress(f"evaluating {path.name}") as show:
        result = score(
            segmenter,
            manifest,
            masks=sources.masks,
            images=card.images,
            normalization=card.normalization,
            settings=config.eval,
            crop_size=config.data.crop_size,
            device=device,
            progress=show,
        )
    return {"file": str(path), "model": card.training.get("model"), "step": card.training.get("step")}, result


def _require_same_classes(path: Path, trained: Vocabulary, wanted: Vocabulary) -> None:
    if difference := trained.difference(wanted):
        raise DataError(
            f"{path}: trained on other classes: {difference}; evaluate on masks of the same classes in the same order "
            "(data.classes; data.masks.map for masks with other values)"
        )


def _keep_scores(path: Path, split: str, found: Mapping[str, Any]) -> None:
    """Add the scores to ``eval.json``, beside what is there."""
    from semiovs.files import write_json

    try:
        old = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        old = {}
    there = old if isinstance(old, dict) else {}
    kept = there.get(split)
    write_json(path, {**there, split: {**(kept if isinstance(kept, dict) else {}), **found}})


def _keep_counts(source: Path, found: Mapping[str, tuple[Mapping[str, Any], Evaluation]]) -> None:
    """Keep the counts of each image, as the training does."""
    from semiovs.engine.run import Run

    for which in _NAMED:
        if which in found:
            facts, result = found[which]
            if result.by_image is not None and facts["model"]:
                result.by_image.write(Run(source).counts(facts["model"], which))


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
