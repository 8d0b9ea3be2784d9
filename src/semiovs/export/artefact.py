"""The three formats, each made of the same traced program and written with its facts."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from semiovs.errors import UsageError
from semiovs.export.same_padding import replace_same_padding
from semiovs.models.exported.openvino_runtime import SECTION
from semiovs.models.exported.runtime import CONFIDENCE, IMAGE, LABELS, LOGITS, encode_facts, missing_package
from semiovs.models.exported.torch_archive import FACTS_FILE

#: Names of the axes of images and answers that may change.
_AXES = ("batch", "height", "width")
_DYNAMIC = torch.export.Dim.DYNAMIC


class Artefact(Protocol):
    """A model of one format in memory."""

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write the file (OpenVINO: two) with its facts."""


class TorchArtefact:
    """An archive of `torch.export`."""

    def __init__(self, program: Any) -> None:
        self._program = program

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """As `Artefact.write`."""
        import json

        torch.export.save(self._program, path, extra_files={FACTS_FILE: json.dumps(encode_facts(facts))})


class OnnxArtefact:
    """An ONNX model; weights inside the file."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """As `Artefact.write`."""
        import onnx

        del self.model.metadata_props[:]
        onnx.helper.set_model_props(self.model, encode_facts(facts))
        path.write_bytes(self.model.SerializeToString())


class OpenVinoArtefact:
    """An OpenVINO model, read from ONNX by its own reader. half: weights in 16 bits."""

    def __init__(self, onnx: OnnxArtefact, *, half: bool) -> None:
        self._onnx, self._half = onnx, half

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """As `Artefact.write`."""
        import openvino

        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            self._onnx.write(Path(folder) / "model.onnx", {})
            model = openvino.convert_model(Path(folder) / "model.onnx")
        for key, text in encode_facts(facts).items():
            model.set_rt_info(text, [SECTION, key])
        openvino.save_model(model, str(path), compress_to_fp16=self._half)


def require_packages(to: str) -> None:
    """Raise MissingExtraError unless the packages of a format are installed."""
    wanted = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
    for name in wanted.get(to, ()):
        try:
            __import__(name)
        except ImportError:
            raise missing_package(f"--to {to}", name) from None


def trace(graph: nn.Module, example: Tensor, *, channels_last: bool, free: bool) -> Any:
    """The program of a graph. example: a batch of two; free: height and width may change, as the batch always may.

    Raises:
        UsageError: it cannot be traced so.
    """
    axes = {0: _DYNAMIC, **({1: _DYNAMIC, 2: _DYNAMIC} if channels_last else {2: _DYNAMIC, 3: _DYNAMIC})}
    dynamic = axes if free else {0: _DYNAMIC}
    try:
        with _quietly(), torch.no_grad():
            return torch.export.export(replace_same_padding(graph), (example,), dynamic_shapes=(dynamic,))
    except Exception as error:  # torch's own kinds, of many lines
        raise UsageError(_explain(error, free=free)) from None


def to_onnx(program: Any, *, opset: int, raw: bool, free: bool) -> OnnxArtefact:
    """A traced program as ONNX, with names of inputs, outputs and axes, and of the logits inside.

    Raises:
        UsageError: this torch cannot write it.
    """
    outputs = [LOGITS] if raw else [LABELS, CONFIDENCE]
    try:
        with _quietly():
            made = torch.onnx.export(
                program,
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=[IMAGE],
                output_names=outputs,
                verbose=False,
            )
    except Exception as error:  # torch's own kinds, of many lines
        raise UsageError(
            f"--to onnx: torch {torch.__version__} cannot write this model with --opset {opset} "
            f"({_first_line(error)}); try another --opset, or a newer torch"
        ) from None
    assert made is not None  # the dynamo exporter returns a program
    model = made.model_proto
    written = model.opset_import[0].version
    if written != opset:
        raise UsageError(f"--opset {opset}: torch {torch.__version__} wrote opset {written}; take --opset {written}")
    if not raw:
        _name_logits(model)
    _name_axes(model, free=free, raw=raw)
    return OnnxArtefact(model)


def _name_logits(model: Any) -> None:
    """Call the tensor that the labels are made of by its name."""
    (node,) = (node for node in model.graph.node if node.op_type == "ArgMax")
    old = node.input[0]
    for each in model.graph.node:
        for names in (each.input, each.output):
            for number, name in enumerate(names):
                if name == old:
                    names[number] = LOGITS
    for value in model.graph.value_info:
        if value.name == old:
            value.name = LOGITS


def _name_axes(model: Any, *, free: bool, raw: bool) -> None:
    """Names for the axes that the exporter numbered."""
    axes = model.graph.input[0].type.tensor_type.shape.dim
    places = (0, *((2, 3) if raw else (1, 2))) if free else (0,)
    names = {axes[place].dim_param: name for place, name in zip(places, _AXES, strict=False)}
    pattern = re.compile("|".join(rf"\b{re.escape(old)}\b" for old in names if old) or r"(?!)")
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = pattern.sub(lambda found: names[found[0]], axis.dim_param)


def _explain(error: Exception, *, free: bool) -> str:
    way = "take --size N, a single size" if free else "take another --size"
    return f"the model cannot be traced {'with a free size' if free else 'at this size'} ({_first_line(error)}); {way}"


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0]:.160}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings and progress of torch's exporters, which are not for users."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
