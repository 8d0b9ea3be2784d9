"""OpenVINO models (.xml with its .bin) on the CPU; the one place that opens them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semiovs.errors import WeightsError
from semiovs.models.exported.runtime import LOGITS, cannot_read, decode_facts, missing_package

#: Under which the facts stand in the model's `rt_info`.
SECTION = "semiovs"


class OpenVinoRuntime:
    """A compiled OpenVINO model; numbers stay in 32 bits, where a processor would take bfloat16 on its own."""

    def __init__(self, model: Any, facts: dict[str, Any], threads: int | None) -> None:
        self.facts = facts
        self._model = model
        self._settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        }
        self._request = self._compile()

    def answer(self, image: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
        """As `Runtime.answer`."""
        if LOGITS in names and all(LOGITS not in output.get_names() for output in self._model.outputs):
            self._model.add_outputs(LOGITS)
            self._request = self._compile()
        self._request.infer([image])
        return [np.array(self._request.get_tensor(name).data) for name in names]

    def _compile(self) -> Any:
        import openvino

        return openvino.Core().compile_model(self._model, "CPU", self._settings).create_infer_request()


def read_file(path: Path, *, threads: int | None = None) -> OpenVinoRuntime:
    """Open a file; its weights lie beside it, under the same name with `.bin`.

    Raises:
        WeightsError: damaged, or not ours; MissingExtraError: openvino is not installed.
    """
    model, facts = _read_model(path)
    try:
        return OpenVinoRuntime(model, facts, threads)
    except Exception as error:
        raise cannot_read(path, error) from None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone; nothing is compiled.

    Raises:
        WeightsError, MissingExtraError: as `read_file`.
    """
    return _read_model(path)[1]


def _read_model(path: Path) -> tuple[Any, dict[str, Any]]:
    try:
        import openvino
    except ImportError:
        raise missing_package(path, "openvino") from None
    if not path.with_suffix(".bin").is_file():
        raise WeightsError(f"{path}: its weights, {path.with_suffix('.bin').name}, are not beside it; copy both files")
    try:
        model = openvino.Core().read_model(str(path))
        held = model.get_rt_info()
        texts = {key: value.value for key, value in held[SECTION].items()} if SECTION in held else {}
    except Exception as error:  # openvino's own kinds
        raise cannot_read(path, error) from None
    return model, decode_facts({key: str(text) for key, text in texts.items()}, path)
