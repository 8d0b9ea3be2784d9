"""A file against the model it was made of: the same images through both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.evaluation import ConfusionMatrix
from semiovs.export.request import ExportRequest
from semiovs.export.samples import Sample
from semiovs.models.exported.runtime import CONFIDENCE, LABELS, LOGITS, Runtime
from semiovs.progress import Progress

_Answer = tuple[NDArray[np.uint8], NDArray[np.float32]]
#: Images that are timed.
_TIMED = 5
#: Batch and size (height, width) of what a file of a free size is tried with.
_FREE_TRIALS = ((1, (96, 128)), (3, (161, 113)))


@dataclass(frozen=True)
class Parity:
    """How near a file is to its model.

    agreement: share of the pixels with the same label; confidence: largest difference; miou_model, miou_file: over the
    classes that occur, in percent, None without masks; model_ms, file_ms: median time of an image on the CPU, in as
    many `threads`.
    """

    images: int
    pixels: int
    agreement: float
    confidence: float
    miou_model: float | None = None
    miou_file: float | None = None
    model_ms: float | None = None
    file_ms: float | None = None
    threads: int | None = None

    @property
    def drop(self) -> float | None:
        """Points of mIoU that the file costs."""
        if self.miou_model is None or self.miou_file is None:
            return None
        return self.miou_model - self.miou_file

    def passes(self, request: ExportRequest) -> bool:
        """Whether the bar of the precision is passed: points of mIoU for int8 with masks, else equal labels."""
        if request.precision == "int8" and self.drop is not None:
            return self.drop <= request.max_drop
        return self.agreement >= request.bar

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "drop": self.drop}


class Model:
    """The model in torch; its answers for the samples are computed once."""

    def __init__(self, graph: nn.Module, num_classes: int) -> None:
        self._graph, self.num_classes = graph, num_classes
        self._known: dict[int, _Answer] = {}

    @torch.inference_mode()
    def answer(self, image: NDArray[Any]) -> _Answer:
        """Labels and confidences (B, H, W)."""
        if id(image) not in self._known:
            self._known[id(image)] = self.compute(image)
        return self._known[id(image)]

    @torch.inference_mode()
    def compute(self, image: NDArray[Any]) -> _Answer:
        """As `answer`, anew."""
        found = self._graph(torch.from_numpy(image))
        labels, confidence = _decide(found) if isinstance(found, Tensor) else found
        return labels.numpy(), confidence.numpy()


def ask(runtime: Runtime, image: NDArray[Any]) -> _Answer:
    """Labels and confidences (B, H, W) of a file."""
    if runtime.facts["outputs"] == [LOGITS]:
        labels, confidence = _decide(torch.from_numpy(runtime.answer(image, [LOGITS])[0]))
        return labels.numpy(), confidence.numpy()
    labels_, confidence_ = runtime.answer(image, [LABELS, CONFIDENCE])
    return labels_, confidence_


def measure(model: Model, runtime: Runtime, samples: Sequence[Sample], progress: Progress) -> Parity:
    """Compare all samples; nothing is timed. A file that fails on one, or answers in another shape, agrees nowhere."""
    same, pixels, largest = 0, 0, 0.0
    matrices = ConfusionMatrix(model.num_classes), ConfusionMatrix(model.num_classes)
    masked = all(sample.mask is not None for sample in samples)
    for number, sample in enumerate(samples, start=1):
        labels, confidence = model.answer(sample.image)
        try:
            theirs, sure = ask(runtime, sample.image)
        except Exception:  # of any runtime
            return Parity(len(samples), labels.size, 0.0, 1.0)
        if labels.shape != theirs.shape:
            return Parity(len(samples), labels.size, 0.0, 1.0)
        same += int((labels == theirs).sum())
        pixels += labels.size
        largest = max(largest, float(np.abs(confidence - sure).max(initial=0)))
        if masked:
            for matrix, found in zip(matrices, (labels, theirs), strict=True):
                matrix.update(torch.from_numpy(found), torch.from_numpy(sample.mask)[None])
        progress(number, len(samples))
    scored = masked and matrices[0].pixels > 0
    scores = [matrix.miou(present_only=True) for matrix in matrices] if scored else [None, None]
    return Parity(len(samples), pixels, same / max(pixels, 1), largest, *scores)


def time_both(model: Model, runtime: Runtime, samples: Sequence[Sample]) -> tuple[float, float, int]:
    """Median milliseconds an image of model and file, one after the other image by image, and the threads of both."""
    times: tuple[list[float], list[float]] = ([], [])
    runs: tuple[Callable[[NDArray[Any]], _Answer], ...] = (model.compute, partial(ask, runtime))
    few = samples[:_TIMED]
    for sample in (few[0], *few):
        for found, run in zip(times, runs, strict=True):
            start = time.perf_counter()
            run(sample.image)
            found.append(1000 * (time.perf_counter() - start))
    ours, theirs = (round(statistics.median(found[1:]), 2) for found in times)  # the first run of each warms up
    return ours, theirs, torch.get_num_threads()


def find_disagreement(
    model: Model, runtime: Runtime, sample: Sample, *, fixed: tuple[int, int] | None, raw: bool, bar: float
) -> str | None:
    """What a file gets wrong at other batches and sizes than it was traced with; None if nothing."""
    trials = _FREE_TRIALS if fixed is None else ((1, fixed), (3, fixed))
    for batch, size in trials:
        image = np.repeat(_resize(sample.image, size, raw=raw), batch, axis=0)
        what = f"a batch of {batch} of {size[0]} x {size[1]} (height x width)"
        labels, _ = model.compute(image)
        try:
            theirs, _ = ask(runtime, image)
        except Exception as error:  # of any runtime
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return f"{what} fails: {first:.160}"
        if theirs.shape != labels.shape:
            return f"{what} gives labels of shape {theirs.shape}"
        share = float((labels == theirs).mean())
        if share < bar:
            return f"on {what} {100 * share:.2f} % of the labels are those of the model"
    return None


def _decide(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and confidences of logits (B, K, H, W)."""
    confidence, labels = logits.softmax(dim=1).max(dim=1)
    return labels.to(torch.uint8), confidence


def _resize(image: NDArray[Any], size: tuple[int, int], *, raw: bool) -> NDArray[Any]:
    """One image of a file's kind at another size."""
    tensor = torch.from_numpy(image if raw else np.moveaxis(image, -1, 1).copy()).float()
    resized = F.interpolate(tensor, size=size, mode="bilinear", align_corners=False).numpy()
    if image.dtype == np.uint8:
        resized = resized.round()
    return np.ascontiguousarray(resized if raw else np.moveaxis(resized, 1, -1)).astype(image.dtype)
