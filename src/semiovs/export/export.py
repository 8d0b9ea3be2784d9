"""The export itself: trace, write, try at other sizes, compare with the model, and only then take the final name."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from semiovs.data.collection import Collection
from semiovs.engine.run import find_run
from semiovs.errors import UsageError, WeightsError
from semiovs.export.artefact import (
    Artefact,
    OnnxArtefact,
    OpenVinoArtefact,
    TorchArtefact,
    require_packages,
    to_onnx,
    trace,
)
from semiovs.export.checksums import recording
from semiovs.export.facts import make_facts
from semiovs.export.graph import build_graph, kind_of
from semiovs.export.int8 import Quantized, Quantizer, quantize_within
from semiovs.export.parity import Model, Parity, find_disagreement, measure, time_both
from semiovs.export.request import FORMATS, ExportRequest
from semiovs.export.samples import Sample, choose_samples, read_run_images
from semiovs.export.size_rule import SizeRule
from semiovs.files import sync_directory, temporary_beside
from semiovs.models.exported import SUFFIXES, open_runtime
from semiovs.models.exported.runtime import Runtime
from semiovs.models.exported.segmenter import RAW
from semiovs.models.segmenter import Segmenter
from semiovs.models.weights import ModelCard, find_model, load_model
from semiovs.progress import Say, ShowProgress

#: Labelled images that INT8 measures activations on.
CALIBRATION_IMAGES = 32
#: (height, width) of the images that a free size is traced with; odd, so that nothing is taken for a constant.
_TRACED = (97, 130)
#: Share of the labels that must be kept at other sizes, tried on one small image: what fails there is wrong by far,
#: and the bar of rounding is that of the images (`ExportRequest.bar`).
_TRIALS = {"fp32": 0.999, "fp16": 0.97, "int8": 0.8}


class ParityError(WeightsError):
    """A file that does not answer as its model does; nothing is left under the final name (exit code 4)."""


@dataclass(frozen=True)
class Export:
    """A file that was written. facts: its metadata; megabytes: of it, and of the weights it was made of."""

    path: Path
    facts: dict[str, Any]
    parity: Parity
    megabytes: float
    model_megabytes: float


@dataclass(frozen=True)
class _Work:
    """What all steps of one export read."""

    request: ExportRequest
    segmenter: Segmenter
    card: ModelCard
    rule: SizeRule
    kind: str
    model: Model
    samples: Sequence[Sample]
    images: Collection | None
    show: ShowProgress
    say: Say


def default_file(source: Path, request: ExportRequest) -> Path:
    """``export/model.onnx`` in the run that the source is or lies in, else beside the weights under their name."""
    run = find_run(source)
    if run is not None:
        return run / "export" / request.name
    return source.with_name(request.name.replace("model", source.stem, 1))


def export_model(
    source: Path,
    request: ExportRequest,
    *,
    out: Path | None = None,
    which: str | None = None,
    overwrite: bool = False,
    show: ShowProgress,
    say: Say,
) -> Export:
    """Write the model of a run or of weights as a file of another runtime, after it answered as the model does.

    Raises:
        UsageError: what cannot be exported so; DataError: images that cannot be read; MissingExtraError: a package;
        ParityError: the file disagrees with its model.
    """
    weights = find_model(source)
    if weights.suffix in SUFFIXES:
        raise UsageError(f"{weights}: is exported already; name the run that it was made of")
    path = _check_target(out or default_file(source, request), request, overwrite=overwrite)
    require_packages(request.to)
    segmenter, card = load_model(source, which=which)
    kind = kind_of(card.images.bands, raw=request.raw)
    rule = SizeRule.choose(segmenter, card.evaluation, request)
    run = find_run(source)
    images = None if request.images is not None else read_run_images(run)
    chosen = {"kind": kind, "size": rule.fixed}
    samples = choose_samples(images, request.images, card, most=request.parity_images, **chosen)  # type: ignore[arg-type]
    facts = make_facts(request, card, rule, weights=weights, kind=kind, run=run)
    graph = build_graph(segmenter, card.normalization, rule, kind)
    work = _Work(request, segmenter, card, rule, kind, Model(graph, card.num_classes), samples, images, show, say)
    with _folder_beside(path) as folder:
        artefact, quantized = _make_artefact(work, graph, folder, facts)
        parity = _check(work, artefact, folder / path.name, facts, quantized)
        told = {**facts, "parity": parity.as_json(), **_describe_int8(quantized)}
        artefact.write(folder / path.name, told)
        size = _commit(folder, path)
    return Export(path, told, parity, size / 1e6, weights.stat().st_size / 1e6)


def _make_artefact(
    work: _Work, graph: nn.Module, folder: Path, facts: dict[str, Any]
) -> tuple[Artefact, Quantized | None]:
    request, rule = work.request, work.rule
    if request.precision == "fp16" and request.to != "openvino":
        graph = build_graph(copy.deepcopy(work.segmenter).half(), work.card.normalization, rule, work.kind)
    with work.show("tracing", unit="steps") as progress:
        program = trace(graph, _make_example(work), channels_last=work.kind != RAW, free=rule.fixed is None)
        progress(1, 2)
        if request.to == "torch":
            return TorchArtefact(program), None
        onnx = to_onnx(program, opset=request.opset, raw=request.raw, free=rule.fixed is None)
        progress(2, 2)
    if request.precision != "int8":
        return _of_format(onnx, request), None
    quantized = _quantize(work, onnx, folder, facts)
    return _of_format(quantized.artefact, request), quantized


def _of_format(onnx: OnnxArtefact, request: ExportRequest) -> Artefact:
    return OpenVinoArtefact(onnx, half=request.precision == "fp16") if request.to == "openvino" else onnx


def _quantize(work: _Work, onnx: OnnxArtefact, folder: Path, facts: dict[str, Any]) -> Quantized:
    request = work.request
    calibration = choose_samples(
        work.images,
        request.images,
        work.card,
        most=CALIBRATION_IMAGES,
        kind=work.kind,
        size=work.rule.fixed,
        labeled=True,
    )
    workplace = folder / "int8"
    workplace.mkdir()
    trial = workplace / f"trial{FORMATS[request.to]}"

    def try_out(made: OnnxArtefact) -> Parity:
        _of_format(made, request).write(trial, facts)
        return _measure(work, open_runtime(trial))

    quantizer = Quantizer(onnx, calibration, workplace)
    found = quantize_within(quantizer, try_out, lambda parity: parity.passes(request), work.say)
    shutil.rmtree(workplace)
    return found


def _check(work: _Work, artefact: Artefact, path: Path, facts: dict[str, Any], quantized: Quantized | None) -> Parity:
    """Try a file at other sizes, compare and time it.

    Raises:
        ParityError: it does not pass.
    """
    request, rule = work.request, work.rule
    artefact.write(path, facts)
    runtime = open_runtime(path)
    parity = _measure(work, runtime) if quantized is None else quantized.parity
    if not parity.passes(request):
        raise ParityError(_explain(parity, work, quantized))
    wrong = find_disagreement(
        work.model, runtime, work.samples[0], fixed=rule.fixed, raw=request.raw, bar=_TRIALS[request.precision]
    )
    if wrong is not None:
        raise ParityError(
            f"the {request.to} file disagrees with its model: {wrong}; {_propose(work)}; nothing was written"
        )
    ours, theirs, threads = time_both(work.model, runtime, work.samples)
    return replace(parity, model_ms=ours, file_ms=theirs, threads=threads)


def _measure(work: _Work, runtime: Runtime) -> Parity:
    with work.show("comparing") as progress:
        return measure(work.model, runtime, work.samples, progress)


def _propose(work: _Work) -> str:
    """What to take instead of a file that disagrees."""
    free = work.rule.fixed is None and work.segmenter.fixed_grid
    return "take --size N, a single size" if free else "take another format, opset or precision"


def _explain(parity: Parity, work: _Work, quantized: Quantized | None) -> str:
    request = work.request
    same = f"{100 * parity.agreement:.3f} % of {parity.pixels:,} pixels keep their label"
    if quantized is None:
        return (
            f"the {request.to} file disagrees with its model: {same}, and {request.precision} has to keep "
            f"{100 * request.bar:g} %; {_propose(work)}; nothing was written"
        )
    tried = f"with {len(quantized.kept)} of {quantized.layers} layers in float"
    if parity.drop is not None:
        return (
            f"int8 costs {parity.drop:.2f} points of mIoU ({parity.miou_model:.2f} to {parity.miou_file:.2f}), "
            f"{tried}, and --max-drop is {request.max_drop:g}; take --precision fp16, or a larger --max-drop; nothing "
            "was written"
        )
    return (
        f"int8: {same}, {tried}, and it has to be {100 * request.bar:g} %; take --precision fp16; nothing was written"
    )


def _describe_int8(quantized: Quantized | None) -> dict[str, Any]:
    if quantized is None:
        return {}
    return {"int8": {"layers": quantized.layers, "in_float": list(quantized.kept)}}


def _make_example(work: _Work) -> torch.Tensor:
    """A batch of two of what the file takes."""
    height, width = work.rule.fixed or _TRACED
    image = work.samples[0].image
    channels = image.shape[1] if work.kind == RAW else image.shape[3]
    shape = (2, channels, height, width) if work.kind == RAW else (2, height, width, channels)
    return torch.from_numpy(np.zeros(shape, image.dtype))


def _check_target(path: Path, request: ExportRequest, *, overwrite: bool) -> Path:
    """Raises UsageError: another ending than the format's, or a file that is there."""
    ending = FORMATS[request.to]
    if path.suffix != ending:
        raise UsageError(f"--out {path}: the file of --to {request.to} ends in {ending}")
    taken = [each for each in (path, path.with_suffix(".bin")) if each.exists() and _belongs(each, request)]
    if taken and not overwrite:
        raise UsageError(f"{taken[0]}: is there already; --overwrite replaces it")
    return path


def _belongs(path: Path, request: ExportRequest) -> bool:
    return path.suffix != ".bin" or request.to == "openvino"


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """A folder for files that are not finished, on the same disk; it is removed at the end in any case."""
    folder = temporary_beside(path)
    folder.mkdir(parents=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _commit(folder: Path, path: Path) -> int:
    """Move the finished files to their final names, the weights before what reads them; returns their bytes."""
    parts = [part for part in (folder / path.with_suffix(".bin").name, folder / path.name) if part.exists()]
    size = sum(part.stat().st_size for part in parts)
    with recording(path, parts):
        for part in parts:
            part.replace(path.with_name(part.name))
    sync_directory(path.parent)
    return size
