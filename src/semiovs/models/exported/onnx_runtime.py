"""ONNX files by onnxruntime on the CPU; the one place that opens them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from semiovs.errors import WeightsError
from semiovs.models.exported.runtime import IMAGE, LOGITS, cannot_read, decode_facts, missing_package


class OnnxRuntime:
    """An ONNX file in a session of onnxruntime."""

    def __init__(self, model: Any, facts: dict[str, Any], threads: int | None) -> None:
        import onnxruntime

        self.facts = facts
        self._bare = model
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads or torch.get_num_threads()
        self._options.log_severity_level = 3
        self._session = self._open(model)
        self._with_logits: Any = None

    def answer(self, image: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
        """As `Runtime.answer`."""
        session = self._session
        if LOGITS in names and LOGITS not in {output.name for output in session.get_outputs()}:
            session = self._show_logits()
        found: list[NDArray[Any]] = session.run(list(names), {IMAGE: image})
        return found

    def _open(self, model: Any) -> Any:
        import onnxruntime

        return onnxruntime.InferenceSession(
            model.SerializeToString(), self._options, providers=["CPUExecutionProvider"]
        )

    def _show_logits(self) -> Any:
        """A session of the same graph in which the tensor inside is an output too."""
        if self._with_logits is None:
            import onnx

            shown = onnx.ModelProto()
            shown.CopyFrom(self._bare)
            shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(LOGITS))
            self._with_logits = self._open(shown)
        return self._with_logits


def read_file(path: Path, *, threads: int | None = None) -> OnnxRuntime:
    """Open a file.

    Raises:
        WeightsError: damaged, or not ours; MissingExtraError: onnx or onnxruntime is not installed.
    """
    model, facts = _read_model(path)
    try:
        return OnnxRuntime(model, facts, threads)
    except WeightsError:
        raise
    except Exception as error:  # onnxruntime's own kinds
        raise cannot_read(path, error) from None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone; no session is opened.

    Raises:
        WeightsError, MissingExtraError: as `read_file`.
    """
    return _read_model(path)[1]


def _read_model(path: Path) -> tuple[Any, dict[str, Any]]:
    try:
        import onnx
        import onnxruntime  # noqa: F401 - told before the file is read
    except ImportError as error:
        raise missing_package(path, error.name or "onnxruntime") from None
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's own kinds
        raise cannot_read(path, error) from None
    return model, decode_facts({entry.key: entry.value for entry in model.metadata_props}, path)
