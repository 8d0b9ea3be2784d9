"""The results of a picture as files: of one in memory, and of one that is read and written part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.errors import UsageError
from semiovs.images.conventions import IGNORE
from semiovs.images.image import open_image
from semiovs.images.overlay import id_png, overlay, palette_png
from semiovs.images.pages import count_pages
from semiovs.images.rasters import PutPart, write_raster
from semiovs.images.tile_source import TileSource
from semiovs.inference.outlines import write_geojson
from semiovs.inference.prediction import Prediction, write_picture
from semiovs.inference.prediction_files import PredictionJob
from semiovs.inference.predictor import Predictor
from semiovs.inference.tiles import LabelBlock, Tiling
from semiovs.vocab.vocabulary import Vocabulary

#: Longer side of the overlay of an image that is written part by part.
_PREVIEW = 2048


def write_results(
    job: PredictionJob, found: Prediction, vocabulary: Vocabulary, kinds: Sequence[str]
) -> dict[str, Any]:
    """Write the files of one picture; returns what is told of it.

    Raises:
        OSError: the disk is full.
    """
    files = job.files(kinds)
    colors, names = vocabulary.shown_colors, vocabulary.names
    make: Mapping[str, tuple[Callable[[], Image.Image], str]] = {
        "ids": (lambda: id_png(found.labels), "PNG"),
        "color": (lambda: palette_png(found.labels, colors), "PNG"),
        "overlay": (found.overlay, "JPEG"),
        "confidence": (lambda: Image.fromarray(as_bytes(found.confidence)), "PNG"),
    }
    for kind, (picture, form) in make.items():
        if kind in files:
            write_picture(files[kind], picture(), form)
    if "scores" in files:
        found.write_scores(files["scores"])
    if "geojson" in files:
        write_geojson(files["geojson"], found.labels, names)
    counts = np.bincount(found.labels.ravel(), minlength=256)
    return _describe(job, files, found.labels.shape, float(found.confidence.mean()), counts, names)


def write_tiles(
    job: PredictionJob,
    source: TileSource,
    tiling: Tiling,
    predictor: Predictor,
    kinds: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Segment an image part by part, and write its results as they come: a TIFF of labels (with its palette, and 255
    where nothing was measured) and one of confidences, tiled, compressed, and georeferenced as the image is; the
    overlay is small. Returns what is told of it.

    Raises:
        UsageError: scores are asked for, which no file holds; DataError: unreadable; OSError: the disk is full.
    """
    if "scores" in kinds:
        raise UsageError(f"{job.image}: scores are not written for images with a georeference or of this size")
    files, size = job.files(kinds), (source.height, source.width)
    colors, names = predictor.vocabulary.shown_colors, predictor.vocabulary.names
    counts, total = np.zeros(256, np.int64), 0.0
    preview = _Preview(size) if "overlay" in files else None
    job.target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        place = source.georeference
        put: dict[str, PutPart] = {
            "ids": stack.enter_context(write_raster(files["ids"], size, place, colors=colors)),
        }
        if "confidence" in files:
            put["confidence"] = stack.enter_context(write_raster(files["confidence"], size, place, nodata=None))
        options = {"spill": job.target.parent, "progress": progress}
        for block in predictor.label_tiles(source, tiling, str(job.image), **options):
            put["ids"](block.rows, block.columns, block.labels)
            if "confidence" in put:
                put["confidence"](block.rows, block.columns, as_bytes(block.confidence))
            if preview is not None:
                preview.add(block)
            counts += np.bincount(block.labels.ravel(), minlength=256)
            total += float(block.confidence.sum(dtype=np.float64))
    if preview is not None:
        shown = overlay(Image.fromarray(preview.pixels), preview.labels, colors=colors, names=names)
        write_picture(files["overlay"], shown, "JPEG")
    if "geojson" in files:
        write_geojson(files["geojson"], files["ids"], names, source.georeference)
    known = int(counts.sum() - counts[IGNORE])
    return {**_describe(job, files, size, total / max(known, 1), counts, names), "tile": tiling.side}


class _Preview:
    """Every n-th pixel of an image and of its labels, so that the longer side has at most `_PREVIEW`."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._every = -(-max(size) // _PREVIEW)
        small = tuple(-(-side // self._every) for side in size)
        self.pixels: NDArray[np.uint8] = np.zeros((*small, 3), np.uint8)
        self.labels: NDArray[np.uint8] = np.full(small, IGNORE, np.uint8)

    def add(self, block: LabelBlock) -> None:
        """Take the pixels of a block."""
        first = [-span.start % self._every for span in (block.rows, block.columns)]
        taken = slice(first[0], None, self._every), slice(first[1], None, self._every)
        labels = block.labels[taken]
        top, left = (
            (span.start + skip) // self._every for span, skip in zip((block.rows, block.columns), first, strict=True)
        )
        place = slice(top, top + labels.shape[0]), slice(left, left + labels.shape[1])
        self.labels[place] = labels
        self.pixels[place] = block.shown[taken]


def as_bytes(confidence: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Confidences in [0, 1] as 0 to 255."""
    return np.rint(confidence * 255).astype(np.uint8)


def count_file_pages(path: Path) -> int:
    """Count the pages or frames of an image file."""
    with open_image(path) as image:
        return count_pages(image)


def _describe(
    job: PredictionJob,
    files: Mapping[str, Path],
    size: tuple[int, ...],
    confidence: float,
    counts: NDArray[np.int64],
    names: Sequence[str],
) -> dict[str, Any]:
    pixels = int(np.prod(size))
    return {
        "image": str(job.image),
        **{kind: str(path) for kind, path in files.items()},
        "size": list(size),
        "pages": 1,
        "mean_confidence": round(confidence, 4),
        "classes": {name: round(float(counts[i] / pixels), 4) for i, name in enumerate(names) if counts[i]},
    }
