"""Which sizes a file takes, and what of `eval.*` lies inside of it, and what stays with who calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semiovs.errors import UsageError
from semiovs.export.request import ExportRequest
from semiovs.models.segmenter import Segmenter


@dataclass(frozen=True)
class SizeRule:
    """Sizes of a file.

    fixed: the only (height, width); None: any. multiple: sides are brought to the nearest multiple of it inside the
    graph, and the answer back; None: nothing of the kind. outside: ``eval.*`` for who calls the file.
    """

    fixed: tuple[int, int] | None
    multiple: int | None
    outside: Mapping[str, Any]

    @classmethod
    def choose(cls, segmenter: Segmenter, evaluation: Mapping[str, Any], request: ExportRequest) -> SizeRule:
        """The rule for a model that predicts as `evaluation` says.

        Raises:
            UsageError: a rule that no file can hold, or a size that nothing tells.
        """
        fixed = request.size
        if fixed is None and not request.free and segmenter.fixed_grid:
            side = evaluation.get("window")
            if side is None:
                raise UsageError("--size: a vision transformer leaves with one size, and the model card names none")
            fixed = (int(side), int(side))
        if not request.raw:
            _refuse_resizing(evaluation)
        if fixed is not None:
            return cls(fixed, None, _tile(evaluation, fixed))
        if evaluation.get("mode") == "resize" and not request.raw:
            return cls(None, int(evaluation.get("multiple") or 32), {**evaluation, "mode": "whole"})
        return cls(None, None, dict(evaluation))

    def describe(self) -> str:
        """One line for people."""
        if self.fixed is not None:
            height, width = self.fixed
            tiled = "larger images are tiled outside" if self.outside["mode"] == "sliding" else "no other size"
            return f"{height} x {width} (height x width), {tiled}; batch free"
        inside = f", brought to multiples of {self.multiple} inside" if self.multiple else ""
        mode = self.outside.get("mode", "whole")
        windows = f"; eval.mode={mode} stays outside" if mode != "whole" else ""
        return f"batch, height and width free{inside}{windows}"


def _tile(evaluation: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Settings with which images of any size go through a file of one size: square windows of it."""
    if size[0] != size[1]:
        return {"mode": "whole"}
    stride = evaluation.get("stride") if evaluation.get("mode") == "sliding" else None
    kept = {key: evaluation[key] for key in ("average", "flip", "short_side", "scales") if key in evaluation}
    return {**kept, "mode": "sliding", "window": size[0], "stride": min(stride, size[0]) if stride else None}


def _refuse_resizing(evaluation: Mapping[str, Any]) -> None:
    scales = tuple(evaluation.get("scales") or (1.0,))
    for key, changed in (("short_side", evaluation.get("short_side") is not None), ("scales", scales != (1.0,))):
        if changed:
            raise UsageError(
                f"eval.{key} resizes images before the network, which a file of 8-bit images cannot repeat exactly: "
                "take --raw and resize outside"
            )
