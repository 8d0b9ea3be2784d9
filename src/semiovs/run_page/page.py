"""Write the page of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.data.collection import Collection
from semiovs.duration import format_duration
from semiovs.engine.explanations import explain_metrics
from semiovs.errors import DataError, SemiovsError
from semiovs.evaluation import ImageCounts
from semiovs.images.palette import build_palette
from semiovs.registry import DATASETS, lookup
from semiovs.report.page import write_page
from semiovs.run_page import curves
from semiovs.run_page.boundary import BAND, compute_iou
from semiovs.run_page.measurement import Measurement, Progress, find_predictor, measure
from semiovs.run_page.origins import find_cards, list_settings, list_weights
from semiovs.run_page.pictures import list_shown_classes, make_gallery, make_strip
from semiovs.run_page.run_record import RunRecord, find_number
from semiovs.run_page.scores import ClassScore, ImageScores

#: Examples: images with the lowest mIoU, and images each that are typical and best.
_WORST, _OTHERS = 4, 3
#: Most classes of a whole confusion matrix, and pairs of classes that are listed.
_MATRIX, _PAIRS = 25, 20

#: What the readings of the methods are.
_READINGS = {
    "mask_ratio": "share of the unlabelled pixels that were learnt from",
    "ood_mask_ratio": "share of the OOD pixels that were learnt from, by weight",
    "mask_ratio_prev": "share learnt from by the labels of previous models",
    "spread_ratio": "share learnt from after labels were spread",
    "ood_agreement": "share of the labelled OOD pixels where the student says the same",
    "guide_ratio": "share of pixels labelled by the guide",
    "threshold": "threshold of confidence",
    "threshold_lowest": "lowest threshold of a class",
    "ood_weight": "weight of the OOD images",
}

#: Whose labels the shares of the classes are of.
_SHARES = {"pseudo": "unlabelled images", "ood_pseudo": "OOD images"}


@dataclass(frozen=True)
class Found:
    """What could be found out about a run; of each part that is missing, `why` says why.

    images: of its data; scores: of its last evaluation; measurement: of the predictions of its newest model, `source`.
    """

    record: RunRecord
    images: Collection | None
    scores: ImageScores | None
    measurement: Measurement | None
    source: str
    why: Mapping[str, str]

    @property
    def colors(self) -> NDArray[np.uint8]:
        """(256, 3) colours of the classes."""
        return build_palette(() if self.images is None else self.images.vocabulary.colors)

    def as_json(self) -> dict[str, Any]:
        """The numbers of the page, as plain data."""
        record, measured = self.record, self.measurement
        rows = {"last": record.last, "best": record.best}
        keys = ("step", "miou", "miou_present", "pixel_accuracy")
        return {
            "run": str(record.run.directory),
            "finished": record.is_finished,
            "step": record.step,
            "model": record.model,
            **{name: None if row is None else {key: row.get(key) for key in keys} for name, row in rows.items()},
            "images": record.images,
            "seconds": round(record.seconds, 1),
            "measured": None
            if measured is None
            else {
                "model": self.source,
                "images": measured.images,
                "miou_present": _round(measured.miou),
                "boundary_miou": _round(measured.boundary_miou),
                "ece": _round(measured.reliability.ece),
            },
            "missing": dict(self.why),
        }


def write_run_page(
    directory: Path, out: Path | None = None, *, images: Collection | None = None, progress: Progress | None = None
) -> Found:
    """Write the page of a run to `out` (by default ``report.html`` in it), one file that opens offline.

    images: of the run, where they were read already; progress: called for each image that is predicted.

    Raises:
        UsageError: no run there; ConfigError: its configuration does not hold. Everything else that is missing or
        damaged is told on the page.
    """
    record = RunRecord.read(directory)
    found = _find_out(record, images, progress)
    page = out or record.run.page
    write_page(page, __package__, **_fill(found), cards=find_cards(directory, record.loaded.config, page.parent))
    return found


def _find_out(record: RunRecord, images: Collection | None, progress: Progress | None) -> Found:
    why: dict[str, str] = {}
    if images is None:
        try:
            images = _read_images(record)
        except SemiovsError as error:
            why["images"] = f"The images of this run cannot be read: {error}"
    scores, why["scores"] = _read_scores(record)
    found, source = None, ""
    if record.last is None:
        why["measurement"] = "There are no evaluation images to predict."
    elif images is None or not images.val:
        why["measurement"] = "The evaluation images cannot be read."
    else:
        try:
            found, source = _measure(record, images, scores, progress)
        except SemiovsError as error:
            why["measurement"] = f"Nothing could be predicted: {error}"
    if found is not None and math.isnan(found.miou):
        why["measurement"] = f"Nothing could be measured: {next(iter(found.problems), 'the masks are all ignored')}"
        found = None
    return Found(record, images, scores, found, source, {part: text for part, text in why.items() if text})


def _read_images(record: RunRecord) -> Collection:
    config = record.loaded.config
    images: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, config.ood).read()
    return images


def _read_scores(record: RunRecord) -> tuple[ImageScores | None, str]:
    """Scores by image of the last evaluation, or why there are none."""
    if record.last is None or record.model is None:
        return None, "This run was not evaluated: it has no evaluation images (data.val), or did not come so far."
    path = record.run.counts(record.model, "last")
    if not path.is_file():
        return None, f"This run kept no counts of each image; this makes them: semiovs evaluate {record.run.directory}"
    try:
        counts = ImageCounts.read(path)
        if len(record.names) != counts.num_classes:
            raise DataError(f"{path}: has {counts.num_classes} classes, the run {len(record.names)}")
    except DataError as error:
        return None, f"The counts of each image cannot be read: {error}"
    return ImageScores(counts, record.names), ""


def _measure(
    record: RunRecord, images: Collection, scores: ImageScores | None, progress: Progress | None
) -> tuple[Measurement, str]:
    config = record.loaded.config
    predictor, source = find_predictor(record.run.directory, record.model, config.train.device)
    if difference := predictor.vocabulary.difference(images.vocabulary):
        raise DataError(f"the data have other classes than the model: {difference}")
    assert images.val is not None
    shown = scores.choose_examples(_WORST, _OTHERS) if scores is not None else {}
    ids = [name for names in shown.values() for name in names]
    return measure(predictor, images.val[: config.eval.max_images], images.masks, shown=ids, progress=progress), source


def _fill(found: Found) -> dict[str, Any]:
    """What the template is filled with."""
    record, config = found.record, found.record.loaded.config
    gallery = None if found.images is None else make_gallery(found.images, config)
    return {
        "record": record,
        "config": config,
        "why": found.why,
        "notes": list(_list_notes(record)),
        "last": record.last,
        "best": record.best,
        "models": [_describe_model(record, name) for name in record.models],
        "duration": format_duration(record.seconds),
        **_fill_curves(found),
        **_fill_scores(found),
        "gallery": gallery,
        "gallery_legend": [] if gallery is None else _make_legend(found, gallery.classes),
        "settings": list_settings(record.loaded),
        "weights": list(list_weights(config)),
        "environment": list(_describe_environment(record.environment)),
    }


def _fill_curves(found: Found) -> dict[str, Any]:
    record, train = found.record, found.record.train
    scores = {name: record.of_model(name) for name in record.models}
    scores |= {"student, held-out labels": record.held_out} if record.held_out else {}
    classes = [] if found.scores is None else found.scores.classes
    largest = sorted(classes, key=lambda row: -row.pixels)[: curves.CLASSES]
    drawn = [row.name for row in classes if row in largest] or record.names[: curves.CLASSES]
    keys = [*curves.list_keys(train, "log/"), *curves.list_keys(train, "ood_agreement")]
    readings = ((key.removeprefix("log/"), curves.plot_log(train, key)) for key in keys)
    colors = _list_colors(found)
    shares = [(title, curves.plot_shares(train, key, colors)) for key, title in _SHARES.items()]
    return {
        "losses": curves.plot_losses(train),
        "evaluations": curves.plot_scores(scores),
        "history": curves.plot_classes(record.of_model(record.model), drawn),
        "drawn": len(drawn),
        "readings": [(_READINGS.get(name, name), svg) for name, svg in readings if svg],
        "shares": [(title, svg) for title, svg in shares if svg],
    }


def _fill_scores(found: Found) -> dict[str, Any]:
    scores, measured = found.scores, found.measurement
    matrix = _make_matrix(scores)
    return {
        "classes": [] if scores is None else _make_class_rows(found, scores.classes),
        "matrix": matrix,
        "pairs": [] if scores is None or matrix else scores.list_confusions(_PAIRS),
        "measured": measured,
        "band": f"{100 * BAND:g}",
        "source": found.source,
        "reliability": "" if measured is None else curves.plot_reliability(measured.reliability),
        "groups": _make_strips(found),
        "legend_rows": _make_legend(found, _list_example_classes(found)),
    }


def _list_notes(record: RunRecord) -> Iterator[str]:
    if not record.is_finished:
        yield f"This run is not finished; it goes on with: semiovs resume {record.run.directory}"
    if record.damaged:
        yield f"{record.damaged} damaged line(s) of metrics.jsonl were left out."
    for row in record.rows:
        if row["kind"] == "data":
            changes = row.get("changes")
            told = "; ".join(map(str, changes)) if isinstance(changes, list) else "not told which"
            yield f"From step {row['step']} on with other data: {told}"
        elif row["kind"] == "note" and isinstance(row.get("text"), str):  # of the guards
            yield f"Step {row['step']}: {row['text']}"
    yield from explain_metrics(
        [
            {k: v for k, v in row.items() if not k.startswith("log/") or find_number(row, k) is not None}
            for row in record.rows
        ]
    )


def _describe_model(record: RunRecord, name: str) -> dict[str, Any]:
    rows = record.of_model(name)
    best = max(rows, key=lambda row: float(row["miou"]))
    return {"name": name, "last": rows[-1], "best": best, "looks": len(rows)}


def _make_class_rows(found: Found, scores: Sequence[ClassScore]) -> list[dict[str, Any]]:
    measured = found.measurement
    bands = None if measured is None else compute_iou(measured.bands)
    return [
        {
            "name": row.name,
            "css": _format_color(found.colors[min(k, 255)]),
            "absent": not row.pixels,
            "iou": _format(row.iou),
            "boundary": "" if bands is None else _format(float(bands[k])),
            "precision": _format(row.precision),
            "recall": _format(row.recall),
            "share": f"{row.share:.2f}",
            "pixels": f"{row.pixels:,}",
            "images": row.images,
        }
        for k, row in enumerate(scores)
    ]


def _make_matrix(scores: ImageScores | None) -> list[dict[str, Any]]:
    """Rows of the confusion matrix in percent of the pixels of each class; empty with too many classes."""
    if scores is None or scores.counts.num_classes > _MATRIX:
        return []
    table = scores.confusion[:, :-1]
    shares = 100 * table / np.maximum(scores.confusion.sum(1, keepdims=True), 1)
    return [
        {"name": name, "cells": [{"text": f"{v:.0f}" if v >= 0.5 else "", "value": round(float(v), 1)} for v in row]}
        for name, row, there in zip(scores.names, shares, table.sum(1), strict=True)
        if there
    ]


def _make_strips(found: Found) -> list[dict[str, Any]]:
    """The worst, typical and best images that could be predicted."""
    if found.scores is None or found.measurement is None:
        return []
    there, score = found.measurement.examples, found.scores.by_image
    groups = found.scores.choose_examples(_WORST, _OTHERS).items()
    made = [
        {"name": kind, "strips": [make_strip(i, there[i], score[i], found.colors) for i in ids if i in there]}
        for kind, ids in groups
    ]
    return [group for group in made if group["strips"]]


def _list_example_classes(found: Found) -> list[int]:
    if found.measurement is None:
        return []
    return list_shown_classes(list(found.measurement.examples.values()), len(found.record.names))


def _list_colors(found: Found) -> dict[str, str]:
    """Class -> its colour for plots, in the order of the ids; without the images, the classes of the evaluation."""
    names = found.record.names if found.images is None else found.images.vocabulary.names
    return {name: "#{:02x}{:02x}{:02x}".format(*(int(c) for c in found.colors[k])) for k, name in enumerate(names)}


def _make_legend(found: Found, ids: Sequence[int]) -> list[tuple[str, str]]:
    names = found.record.names if found.images is None else found.images.vocabulary.names
    return [(names[k], _format_color(found.colors[k])) for k in ids if k < len(names)]


def _describe_environment(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    packages, cpu, gpus = (found.get(key) for key in ("packages", "cpu", "gpus"))
    yield "Python", ", ".join(str(found[key]) for key in ("python", "system") if found.get(key))
    if isinstance(packages, Mapping):
        yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    if isinstance(cpu, Mapping):
        yield "CPU", ", ".join(f"{value} {name}" if name != "machine" else str(value) for name, value in cpu.items())
    yield "GPU", ", ".join(map(str, gpus)) if isinstance(gpus, list) and gpus else "none"


def _format_color(color: NDArray[np.uint8]) -> str:
    return "rgb({}, {}, {})".format(*(int(c) for c in color))


def _format(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
