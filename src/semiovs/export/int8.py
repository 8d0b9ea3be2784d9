"""INT8 by onnxruntime's static quantisation (Q and DQ nodes), with the layers that cost too much left in float."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import MissingExtraError
from semiovs.export.artefact import OnnxArtefact
from semiovs.export.parity import Parity
from semiovs.export.samples import Sample
from semiovs.models.exported.runtime import IMAGE, missing_package

#: Layers with weights; all else stays as it is.
_LAYERS = ("Conv", "MatMul", "Gemm")
#: Shares of the layers, the most sensitive ones first, that are left in float if the ends alone do not do.
_SHARES = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Quantized:
    """An INT8 model, how near it is, and its layers: how many there are, and which stayed in float."""

    artefact: OnnxArtefact
    parity: Parity
    layers: int
    kept: tuple[str, ...]


class Quantizer:
    """Makes INT8 models of one ONNX model: weights per channel, activations by the smallest and largest value seen.

    calibration: images that activations are measured on; folder: for files in between.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, artefact: OnnxArtefact, calibration: Sequence[Sample], folder: Path) -> None:
        try:
            from onnxruntime.quantization.shape_inference import quant_pre_process
        except ImportError as error:
            raise _missing(error) from None
        self._images = [sample.image for sample in calibration]
        self._folder, self._float = folder, folder / "float.onnx"
        artefact.write(folder / "whole.onnx", {})
        with _quietly():
            quant_pre_process(str(folder / "whole.onnx"), str(self._float), skip_symbolic_shape=True)
        self.layers = _list_layers(self._float)

    def quantize(self, kept: Sequence[str]) -> OnnxArtefact:
        """The model with all layers in INT8 but `kept`."""
        import onnx

        self._write(kept)
        return OnnxArtefact(onnx.load(str(self._folder / "int8.onnx")))

    def _write(self, kept: Sequence[str]) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        with _quietly():
            quantize_static(
                str(self._float),
                str(self._folder / "int8.onnx"),
                _Reader(self._images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_LAYERS),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(kept),
            )

    def rank(self) -> list[str]:
        """Layers, the most sensitive first: the least ratio (dB) of signal to rounding of its maps and weights.

        Maps are those of the first image, all of which are held in memory.
        """
        from onnxruntime.quantization import qdq_loss_debug as debug

        self._write(())
        made, shown = self._folder / "int8.onnx", self._folder / "shown.onnx"
        with _quietly():
            weights = debug.compute_weight_error(debug.create_weight_matching(str(self._float), str(made)))
            debug.modify_model_output_intermediate_tensors(str(made), str(shown))
            found = debug.collect_activations(str(shown), _Reader(self._images[:1]))
            maps = {
                name: debug.compute_signal_to_quantization_noice_ratio(pair["pre_qdq"], pair["post_qdq"])
                for name, pair in debug.create_activation_matching(found).items()
            }
        ratios = {**maps, **weights}
        worst = {name: _least(ratios, tensors) for name, tensors in self.layers.items()}
        return sorted(worst, key=lambda name: worst[name])


def quantize_within(
    quantizer: Quantizer,
    measure: Callable[[OnnxArtefact], Parity],
    passes: Callable[[Parity], bool],
    say: Callable[[str], None],
) -> Quantized:
    """The first INT8 model that passes, of ever more layers in float; the best one that was tried if none does."""
    best: Quantized | None = None
    for kept in _list_attempts(quantizer):
        made = quantizer.quantize(kept)
        found = Quantized(made, measure(made), len(quantizer.layers), tuple(kept))
        say(f"int8, {len(kept)} of {found.layers} layers in float: {_describe(found.parity)}")
        if passes(found.parity):
            return found
        if best is None or found.parity.agreement > best.parity.agreement:
            best = found
    assert best is not None  # all layers in INT8 are always tried
    return best


def _list_attempts(quantizer: Quantizer) -> Iterator[list[str]]:
    """Layers to leave in float: none; the first and the last; then the most sensitive ones too."""
    names = list(quantizer.layers)
    yield []
    ends = list(dict.fromkeys([names[0], names[-1]]))
    yield ends
    ranked = quantizer.rank()
    for share in _SHARES:
        yield list(dict.fromkeys([*ends, *ranked[: max(1, round(share * len(ranked)))]]))


def _describe(parity: Parity) -> str:
    same = f"{100 * parity.agreement:.2f} % of the labels"
    return same if parity.drop is None else f"{same}, mIoU {-parity.drop:+.2f}"


def _list_layers(path: Path) -> dict[str, tuple[str, ...]]:
    """Name of each layer with weights -> its tensors, in order."""
    import onnx

    graph = onnx.load(str(path)).graph
    constants = {each.name for each in graph.initializer}
    return {
        node.name: (*node.input, *node.output)
        for node in graph.node
        if node.op_type in _LAYERS and any(name in constants for name in node.input[1:2])
    }


def _least(ratios: Mapping[str, float], tensors: Sequence[str]) -> float:
    return min((float(ratios[name]) for name in tensors if name in ratios), default=float("inf"))


class _Reader:
    """Images one by one, as onnxruntime asks for them."""

    def __init__(self, images: Sequence[NDArray[Any]]) -> None:
        self._images = iter(images)

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, NDArray[Any]]:
        return {IMAGE: np.ascontiguousarray(next(self._images))}

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next one; None at the end."""
        return next(self, None)


def _missing(error: ImportError) -> MissingExtraError:
    return missing_package("--precision int8", error.name or "onnxruntime")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without onnxruntime's advice, which is logged to the root."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
