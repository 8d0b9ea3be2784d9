"""Score the checkpoints of a run, or weights, on images with masks; a run keeps the scores of its own configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semiovs.config import Config, load_config
from semiovs.config.schema import EvalConfig
from semiovs.data.collection import Collection
from semiovs.engine.run import Run, find_run
from semiovs.engine.run_data import describe_other_size, find_training_size
from semiovs.errors import DataError, UsageError, WeightsError
from semiovs.evaluation import Evaluation, evaluate
from semiovs.files import write_json
from semiovs.images.manifest import Manifest
from semiovs.models.device import pick_device
from semiovs.models.exported import SUFFIXES
from semiovs.models.tiling import VIEWING
from semiovs.models.weights import ModelCard, find_model, load_model
from semiovs.progress import Progress, Say, ShowProgress
from semiovs.registry import DATASETS, lookup
from semiovs.report.table import Table, render_lines
from semiovs.vocab.vocabulary import Vocabulary

_NAMED: tuple[Literal["best"], Literal["last"]] = ("best", "last")


@dataclass(frozen=True)
class CheckpointScores:
    """One checkpoint. model: that was evaluated (student, ema), and step: where the file tells them."""

    file: Path
    model: str | None
    step: int | None
    evaluation: Evaluation


@dataclass(frozen=True)
class RunScores:
    """The checkpoints of a run (by name, best and last) or weights, on its images.

    split: val or labeled; count: images that were scored; images: of the configuration.
    """

    source: Path
    split: str
    count: int
    images: Collection
    checkpoints: Mapping[str, CheckpointScores]

    @property
    def classes(self) -> Sequence[str]:
        """Names, in order."""
        return self.images.vocabulary.names

    @property
    def miou(self) -> dict[str, float]:
        """Name of the checkpoint -> mean IoU over all classes, in percent."""
        return {name: each.evaluation.miou for name, each in self.checkpoints.items()}

    def table(self) -> Table:
        """IoU of each class in percent, one column a checkpoint; None for a class that is not in the masks."""
        found = [(name, each.evaluation) for name, each in self.checkpoints.items()]
        return Table(
            {"class": name, **{title: each.iou[k] if each.present[k] else None for title, each in found}}
            for k, name in enumerate(self.classes)
        )

    def _repr_html_(self) -> str:
        scores = ", ".join(f"{name} {value:.2f}" for name, value in self.miou.items())
        line = f"{self.source}: mIoU {scores} ({self.split}, {self.count} images)"
        return render_lines([line]) + self.table()._repr_html_()

    def as_json(self) -> dict[str, Any]:
        """Plain data: name of the checkpoint -> its scores, in percent."""
        return {
            name: {
                "file": str(each.file),
                "model": each.model,
                "step": each.step,
                **each.evaluation.as_json(self.classes),
            }
            for name, each in self.checkpoints.items()
        }


def score_run(
    source: Path,
    given: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    split: str = "val",
    which: str | None = None,
    checkpoint: str | None = None,
    show: ShowProgress,
    say: Say,
) -> RunScores:
    """Score the best and last checkpoint of a run, or those that are asked for.

    source: run directory, checkpoint, safetensors or exported file; given: configuration in the place of the run's own,
    with `overrides` on top, which need none; split: images to score on (val, labeled); which: model (student, ema), by
    default that of `eval.model`; checkpoint: best, last or a file; say: told of images of another size. Scores with the
    run's own configuration are also written to its eval.json.

    Raises:
        UsageError: a checkpoint or configuration that there is not; WeightsError: weights that are missing or damaged;
        DataError: other classes, no images, or as `evaluate`.
    """
    if split not in ("val", "labeled"):
        raise UsageError(f"--split {split}: val or labeled")
    files = _find_files(source, checkpoint)
    config = load_config(given or _find_config(source, overrides), overrides).config
    sources: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).read()
    manifest = sources.labeled if split == "labeled" else sources.val
    if manifest is None:
        raise DataError("no images to evaluate: set data.val to a list or folder with masks, or use --split labeled")
    if line := describe_other_size(find_training_size(source), [record.image for record in manifest]):
        say(line)
    scored: dict[tuple[int, int], CheckpointScores] = {}
    for path in files.values():
        if (same := _identify(path)) not in scored:
            with show(f"evaluating {path.name}") as progress:
                scored[same] = score_weights(path, config, sources, manifest, which or config.eval.model, progress)
    found = RunScores(source, split, len(manifest), sources, {n: scored[_identify(p)] for n, p in files.items()})
    if source.is_dir() and not (given or overrides):
        _keep_scores(source / "eval.json", split, found.as_json())
        if split == "val":
            _keep_counts(source, found.checkpoints)
    return found


def _identify(path: Path) -> tuple[int, int]:
    """Device and number of a file: best.pt is a hard link, last.pt a symbolic one."""
    there = path.stat()
    return there.st_dev, there.st_ino


def _find_files(source: Path, checkpoint: str | None) -> dict[str, Path]:
    """Name -> weight file of each checkpoint that is asked for."""
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
    if (folder := find_run(source)) is not None:
        return str(folder)
    if overrides:
        return None
    raise UsageError(f"{source} lies in no run: name a configuration after it, or give data.root=DIR")


def score_weights(
    path: Path,
    config: Config,
    sources: Collection,
    manifest: Manifest,
    which: str | None = None,
    progress: Progress | None = None,
) -> CheckpointScores:
    """Score a checkpoint, safetensors or exported file on images of `sources`, as the configuration evaluates.

    which: model (student, ema); None: the EMA where there is one. An exported file is used as it is by those that it
    was made for: what its metadata leave to who calls it takes the place of ``eval.*``.

    Raises:
        WeightsError: damaged, or without the model asked for; DataError: other classes, or as `evaluate`.
    """
    device = pick_device(config.train.device)
    segmenter, card = load_model(path, which=which, device=device)
    _require_same_classes(path, card.vocabulary, sources.vocabulary)
    result = evaluate(
        segmenter,
        manifest,
        masks=sources.masks,
        images=card.images,
        normalization=card.normalization,
        settings=_choose_settings(path, config, card),
        crop_size=config.data.crop_size,
        device=device,
        progress=progress,
    )
    return CheckpointScores(path, card.training.get("model"), card.training.get("step"), result)


def _choose_settings(path: Path, config: Config, card: ModelCard) -> EvalConfig:
    """``eval.*`` of the configuration; of an exported file, what it leaves to who calls it."""
    if path.suffix not in SUFFIXES:
        return config.eval
    given = {key: value for key, value in card.evaluation.items() if key in VIEWING}
    return EvalConfig.model_validate({**EvalConfig().model_dump(), "batch_size": config.eval.batch_size, **given})


def _require_same_classes(path: Path, trained: Vocabulary, wanted: Vocabulary) -> None:
    if difference := trained.difference(wanted):
        raise DataError(
            f"{path}: trained on other classes: {difference}; evaluate on masks of the same classes in the same order "
            "(data.classes; data.masks.map for masks with other values)"
        )


def _keep_scores(path: Path, split: str, found: Mapping[str, Any]) -> None:
    """Add the scores to ``eval.json``, beside what is there."""
    try:
        old = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        old = {}
    there = old if isinstance(old, dict) else {}
    kept = there.get(split)
    write_json(path, {**there, split: {**(kept if isinstance(kept, dict) else {}), **found}})


def _keep_counts(source: Path, found: Mapping[str, CheckpointScores]) -> None:
    """Keep the counts of each image, as the training does."""
    for which in _NAMED:
        if which in found:
            counts, model = found[which].evaluation.by_image, found[which].model
            if counts is not None and model:
                counts.write(Run(source).counts(model, which))
