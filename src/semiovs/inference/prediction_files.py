"""The files of a prediction: which pictures are segmented, what is written for each, and where."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semiovs.errors import DataError, UsageError
from semiovs.files import write_bytes
from semiovs.images.containers.container import image_exists, split_path
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.folder_walk import PassedBy, walk_files
from semiovs.images.image import open_image
from semiovs.images.overlay import id_png, overlay, palette_png
from semiovs.images.pages import count_pages
from semiovs.images.source import is_container, match_files, read_source
from semiovs.inference.predictor import Prediction, Predictor


@dataclass(frozen=True)
class PredictionJob:
    """One picture and the path, without ending, of what is written for it."""

    image: Path
    target: Path

    def files(self, *, pictures: bool, scores: bool) -> dict[str, Path]:
        """Kind -> file."""
        endings = {"ids": ".png", "color": "_color.png"}
        if pictures:
            endings["overlay"] = "_overlay.jpg"
        if scores:
            endings["scores"] = "_scores.npz"
        return {kind: self.target.with_name(self.target.name + ending) for kind, ending in endings.items()}


def default_folder(model: Path) -> Path:
    """``predictions`` in the directory of the run that the model is or lies in, or else beside the weights."""
    folder = model if model.is_dir() else model.parent
    above = folder.parent if folder.name == "checkpoints" else folder
    return (above if (above / "config.yaml").is_file() else folder) / "predictions"


def list_jobs(
    given: Sequence[Path],
    out: Path,
    *,
    recursive: bool,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> Iterator[PredictionJob]:
    """Pictures with their targets: sub-folders are kept, and the folders' own names where several are given.

    given: files, folders, tars, and patterns of them (``photos/*.jpg``); say: told what folders hold that is not read.

    Raises:
        DataError: a file or folder that is not there, or a folder without pictures.
    """
    paths = [path for one in given for path in match_files(one)]
    several = sum(path.is_dir() for path in paths) > 1
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if is_container(path) and split_path(path) is None:
            found += [(record.image, Path(record.id)) for record in read_source(path.name, path.parent)]
            continue
        if not path.is_dir():
            if not image_exists(path):
                raise DataError(f"{path}: no such file or folder")
            found.append((path, Path(path.stem)))
            continue
        images, notes = _list_pictures(path, recursive=recursive)
        if not images:
            rest = "".join(f"; {note.removeprefix(f'{path}: ')}" for note in notes)
            raise DataError(f"{path}: no pictures in this folder ({', '.join(IMAGE_SUFFIXES)}){rest}")
        for note in notes:
            say(note)
        above = Path(path.resolve().name) if several else Path()
        found += [(image, above / image.relative_to(path).with_suffix("")) for image in images]
    found = list({image.resolve(): (image, target) for image, target in reversed(found)}.values())[::-1]
    names = Counter(target for _, target in found)
    for image, target in found:
        # a.jpg beside a.png: both keep their ending
        yield PredictionJob(
            image, out / (target if names[target] == 1 else target.with_name(f"{target.name}{image.suffix}"))
        )


def _list_pictures(folder: Path, *, recursive: bool) -> tuple[list[Path], list[str]]:
    """Pictures of a folder, and lines about what it holds beside them."""
    passed, unreadable = PassedBy(), list[OSError]()
    images = sorted(walk_files(folder, IMAGE_SUFFIXES, deep=recursive, onerror=unreadable.append, passed_by=passed))
    notes = [f"{error.filename}: this folder cannot be looked into: {error.strerror}" for error in unreadable]
    return images, [*notes, *passed.describe(folder, way="; --recursive reads them")]


def check_targets(jobs: Sequence[PredictionJob], *, pictures: bool, scores: bool, overwrite: bool) -> int:
    """Number of results that will be replaced.

    Raises:
        UsageError: a result would replace a picture, another result, or (without `overwrite`) any file.
    """
    for job in jobs:
        if job.target.parent.exists() and not job.target.parent.is_dir():
            raise UsageError(f"--out: {job.target.parent} is a file; name a folder")
    inputs = {job.image.resolve() for job in jobs}
    owners: dict[Path, Path] = {}
    there = 0
    for job in jobs:
        for path in job.files(pictures=pictures, scores=scores).values():
            if path.resolve() in inputs:
                raise UsageError(f"{path}: the result would replace a picture; choose another --out")
            first = owners.setdefault(path, job.image)
            if first is not job.image:
                raise UsageError(f"{first} and {job.image} would both be written to {path}; predict them one by one")
            there += path.exists()
    if there and not overwrite:
        raise UsageError(f"{there} of the results are there already; --overwrite replaces them")
    return there


def write_prediction(job: PredictionJob, predictor: Predictor, *, pictures: bool, scores: bool) -> dict[str, Any]:
    """Segment one picture and write its results."""
    found = predictor(job.image)
    files = job.files(pictures=pictures, scores=scores)
    colors, names = predictor.vocabulary.shown_colors, predictor.vocabulary.names
    made = {"ids": (id_png(found.labels), "PNG"), "color": (palette_png(found.labels, colors), "PNG")}
    if pictures:
        made["overlay"] = (overlay(found.image, found.labels, colors=colors, names=names), "JPEG")
    for kind, (image, form) in made.items():
        encoded = io.BytesIO()  # Pillow writes to files itself, and does not notice when a full disk takes only a part
        image.save(encoded, form, quality=90)
        write_bytes(files[kind], encoded.getvalue())
    if scores:
        found.write_scores(files["scores"])
    return {
        "image": str(job.image),
        **{kind: str(path) for kind, path in files.items()},
        "size": list(found.labels.shape),
        "pages": _count_pages(job.image) if predictor.images.bands is None else 1,
        "mean_confidence": round(float(found.confidence.mean()), 4),
        "classes": _class_shares(found, names),
    }


def _count_pages(path: Path) -> int:
    with open_image(path) as image:
        return count_pages(image)


def _class_shares(found: Prediction, names: Sequence[str]) -> dict[str, float]:
    """Share of the pixels of each class that occurs."""
    counts = np.bincount(found.labels.ravel(), minlength=256)
    return {name: round(float(counts[i] / found.labels.size), 4) for i, name in enumerate(names) if counts[i]}
