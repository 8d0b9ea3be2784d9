"""Evaluation: milliseconds of an image with the paper's model, decoding included, one by one and eight together."""

from __future__ import annotations

import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from benchmarks import pictures
from benchmarks.gpu.meter import Measured, Place
from benchmarks.gpu.steps import default_precision
from semiovs.config.schema import EvalConfig
from semiovs.engine.precision import Precision
from semiovs.evaluation import evaluate
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.models import build_segmenter


def rows(place: Place) -> list[Measured]:
    torch.manual_seed(0)
    options = place.of({"encoder": "resnet101s"}, {"encoder": "tiny", "channels": 16})
    model = build_segmenter("deeplabv3plus", num_classes=21, **options).to(place.device).eval()
    model = model.to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        made = pictures.make(Path(folder), place.of(64, 3), place.of((500, 375), (60, 45)))
        records = [Record(image.stem, image, mask) for image, mask in made]
        kinds = dict.fromkeys((Precision("fp32", place.device), default_precision(place)))
        return [_scored(model, records, precision, batch, place) for precision in kinds for batch in (1, 8)]


def _scored(model: torch.nn.Module, records: list[Record], precision: Precision, batch: int, place: Place) -> Measured:
    settings = EvalConfig(batch_size=batch)

    def autocast() -> AbstractContextManager[object]:
        return precision.autocast()

    def score() -> float:
        begin = time.perf_counter()
        evaluate(
            model,
            records,
            masks=MaskReader(tuple(str(i) for i in range(21))),
            normalization=model.normalization,  # type: ignore[arg-type]
            settings=settings,
            device=place.device,
            autocast=autocast,
        )
        return 1e3 * (time.perf_counter() - begin) / len(records)

    score()
    times = [score() for _ in range(place.of(3, 1))]
    name = f"evaluation, R-101, 500x375, {precision.name}, batch {batch}, an image"
    return Measured(name, sorted(times)[len(times) // 2], "ms", min(times), max(times), len(times), note="wall time")
