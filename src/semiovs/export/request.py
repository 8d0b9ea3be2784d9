"""What is asked of an export: format, numbers, sizes, and the bars that it has to pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import UsageError, did_you_mean

#: Format -> ending of its file.
FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
PRECISIONS = ("fp32", "fp16", "int8")
#: Share of the pixels that must keep their label; int8 has it where no masks tell what the others cost.
BARS = {"fp32": 0.999, "fp16": 0.995, "int8": 0.97}
OPSET = 20
_FREE = "free"
_LEAST_SIDE = 16


@dataclass(frozen=True)
class ExportRequest:
    """One export.

    to, precision: of `FORMATS` and `PRECISIONS`; size: (height, width), None: that of the model's kind; free: a free
    size is asked for even of a vision transformer; raw: normalised images in, logits out, nothing else in the graph;
    opset: of ONNX; parity_images: how many images go through both; images: a folder of them, None: those of the run;
    max_drop: points of mIoU that int8 may cost.
    """

    to: str
    precision: str = "fp32"
    size: tuple[int, int] | None = None
    free: bool = False
    raw: bool = False
    opset: int = OPSET
    parity_images: int = 16
    images: Path | None = None
    max_drop: float = 1.0

    def __post_init__(self) -> None:
        """Raises UsageError: a value that cannot be."""
        _require_known(self.to, tuple(FORMATS), "--to")
        _require_known(self.precision, PRECISIONS, "--precision")
        if self.to == "torch" and self.precision == "int8":
            raise UsageError("--precision int8: for onnx and openvino; a torch archive has fp32 and fp16")
        if self.opset < 18:
            raise UsageError(f"--opset {self.opset}: must be at least 18")
        if self.parity_images < 1:
            raise UsageError(f"--parity-images {self.parity_images}: must be at least 1")
        if not 0 <= self.max_drop <= 100:
            raise UsageError(f"--max-drop {self.max_drop:g}: points of mIoU, between 0 and 100")

    @property
    def bar(self) -> float:
        """Share of the pixels that must keep their label."""
        return BARS[self.precision]

    @property
    def name(self) -> str:
        """Usual name of the file."""
        kinds = [*(["raw"] if self.raw else []), *([] if self.precision == "fp32" else [self.precision])]
        return "-".join(["model", *kinds]) + FORMATS[self.to]


def parse_size(text: str | None) -> tuple[tuple[int, int] | None, bool]:
    """``--size`` as (height, width) and whether it is ``free``: ``512``, ``512x1024`` (height first), ``free``.

    Raises:
        UsageError: anything else.
    """
    if text is None or text == _FREE:
        return None, text == _FREE
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() and int(side) >= _LEAST_SIDE for side in sides):
        raise UsageError(f"--size {text}: one number, HxW (height first; {_LEAST_SIDE} or more), or {_FREE}")
    return (int(sides[0]), int(sides[-1])), False


def _require_known(value: str, known: Sequence[str], option: str) -> None:
    if value not in known:
        raise UsageError(f"{option} {value}: not known{did_you_mean(value, known)}")
