"""Runs and exported files on the same images in the same way, and what each found in each image, kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from semiovs.comparison.handed_in.exported_files import ExportedFile
from semiovs.config import Config
from semiovs.data.collection import Collection
from semiovs.engine.checkpoint_state import collect_settings
from semiovs.engine.run_scores import score_weights
from semiovs.errors import DataError
from semiovs.evaluation import ImageCounts
from semiovs.files import sha256_of
from semiovs.images.containers.container import read_bytes, split_path
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record
from semiovs.progress import Progress, Say, ShowProgress
from semiovs.read_ahead import read_ahead
from semiovs.registry import DATASETS, lookup

#: Folder of a comparison that keeps what was found.
FOLDER = "scores"
_THREADS = 8


@dataclass(frozen=True)
class EvaluationImages:
    """Images to evaluate on, those of a configuration."""

    config: Config
    sources: Collection
    manifest: Manifest

    @classmethod
    def read(cls, config: Config) -> EvaluationImages:
        """``data.val``.

        Raises:
            DataError: there are none, or they are not as the configuration has them.
        """
        sources: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).read()
        if sources.val is None:
            raise DataError("no images to evaluate on: set data.val to a list or folder with masks")
        return cls(config, sources, sources.val)

    def require_fit(self, file: ExportedFile) -> None:
        """Raise DataError unless the file knows the classes of the masks, and takes images like these."""
        if difference := file.card.vocabulary.difference(self.sources.vocabulary):
            raise DataError(f"{file.path}: knows other classes than the masks have: {difference}")
        takes, there = (_name_kind(images.bands) for images in (file.card.images, self.sources.images))
        if takes != there:
            raise DataError(f"{file.path}: takes images of {takes}; those to evaluate on are {there}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, images and masks, and how they are read."""

        def mark(record: Record) -> list[str]:
            return [record.id, *(_hash(path) for path in (record.image, record.mask) if path is not None)]

        marks = list(read_ahead(self.manifest, mark, threads=_THREADS))
        settings = {key: text for key, text in collect_settings(self.config).items() if key.startswith("data.")}
        return _hash_all(json.dumps([settings, marks]))


@dataclass(frozen=True)
class Model:
    """Something to evaluate. source: as it was handed in; weights: what it consists of, first the file that is opened;
    config: how it is evaluated; which: model of the weights (student, ema).
    """

    source: Path
    weights: tuple[Path, ...]
    config: Config
    which: str | None = None

    def place(self, images: EvaluationImages) -> str:
        """Name of the file that keeps what it finds: of the same weights, images and settings it is the same."""
        settings = {key: text for key, text in collect_settings(self.config).items() if key.startswith("eval.")}
        told = [self.which, settings, self.config.data.crop_size, images.digest, *map(sha256_of, self.weights)]
        return f"{self.weights[0].stem}-{_hash_all(json.dumps(told))[:16]}.npz"


def score_models(
    models: Sequence[Model], images: EvaluationImages, root: Path, *, show: ShowProgress, say: Say
) -> dict[Path, ImageCounts]:
    """Counts of each image, of each model by its source; those that `root` keeps are not made again.

    Raises:
        DataError, WeightsError: as `score_weights`.
    """
    places = {model.source: root / FOLDER / model.place(images) for model in models}
    kept = {source: _read_kept(path, images) for source, path in places.items()}
    counts = {source: found for source, found in kept.items() if found is not None}
    waiting = [model for model in models if model.source not in counts]
    if counts:
        say(f"{len(counts)} of {len(models)} were evaluated before, on the same images: {root / FOLDER}")
    if not waiting:
        return counts
    what = waiting[0].source.name if len(waiting) == 1 else f"{len(waiting)} models"
    with show(f"evaluating {what}") as progress:
        for number, model in enumerate(waiting):
            part = _PartOfAll(progress, number, len(waiting))
            scores = score_weights(
                model.weights[0], model.config, images.sources, images.manifest, model.which, progress=part
            )
            assert scores.evaluation.by_image is not None  # `evaluate` always counts
            counts[model.source] = scores.evaluation.by_image
            counts[model.source].write(places[model.source])
    return counts


@dataclass(frozen=True)
class _PartOfAll:
    """Progress of one of several evaluations of the same images, as progress of all."""

    progress: Progress
    before: int
    number: int

    def __call__(self, done: int, total: int) -> None:
        self.progress(self.before * total + done, self.number * total)


def _read_kept(path: Path, images: EvaluationImages) -> ImageCounts | None:
    """What was kept; None if it is not there, or is damaged."""
    if not path.is_file():
        return None
    try:
        kept = ImageCounts.read(path)
    except DataError:
        return None
    return kept if kept.ids == tuple(record.id for record in images.manifest) else None


def _name_kind(bands: int | None) -> str:
    return "RGB" if bands is None else f"{bands} band{'' if bands == 1 else 's'}"


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest() if split_path(path) else sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", kind="missing") from None


def _hash_all(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
