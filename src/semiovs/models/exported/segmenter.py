"""An exported file as a segmenter, so that everything that predicts takes it as it takes a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semiovs.errors import DataError, UsageError
from semiovs.models.exported.runtime import LOGITS, Runtime
from semiovs.models.segmenter import Features, Normalization, Segmenter

#: What a file takes: RGB bytes, bands in [0, 1], or what the network itself sees.
BYTES, BANDS, RAW = "uint8", "bands", "raw"


def pack(image: Tensor, kind: str, normalization: Normalization) -> NDArray[Any]:
    """Normalised images (B, C, H, W) -> what a file takes: (B, H, W, C) uint8 or float32, or the images themselves."""
    if kind == RAW:
        return np.ascontiguousarray(image.float().cpu().numpy())
    mean, std = (
        torch.tensor(v, device=image.device).view(1, -1, 1, 1) for v in (normalization.mean, normalization.std)
    )
    scaled = (image.float() * std + mean).movedim(1, -1)
    if kind == BYTES:
        scaled = (scaled * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.cpu().numpy())


class ExportedSegmenter(Segmenter):
    """A file of `semiovs export`: normalised images (B, C, H, W) -> logits (B, K, H, W), computed on the CPU.

    size: the only (height, width) that it takes; None: any.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        facts = runtime.facts
        self.runtime = runtime
        self.kind = str(facts["input"]["kind"])
        size = facts["size"]
        self.size: tuple[int, int] | None = None if size is None else (int(size[0]), int(size[1]))
        self.num_classes = len(facts["classes"])
        self.normalization = Normalization(tuple(facts["mean"]), tuple(facts["std"]))
        self.backbone = nn.Identity()
        self.register_parameter("place", nn.Parameter(torch.empty(0), requires_grad=False))  # of the answers

    def encode(self, image: Tensor) -> Features:  # noqa: ARG002 - the signature of all
        """Not to be had: a file is one piece."""
        raise UsageError("an exported model has no encoder of its own; use the run it was made of")

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:  # noqa: ARG002
        """Not to be had: a file is one piece."""
        raise UsageError("an exported model has no decoder of its own; use the run it was made of")

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W).

        Raises:
            DataError: images of another size than the file takes.
        """
        height, width = image.shape[-2:]
        if self.size is not None and (height, width) != self.size:
            raise DataError(
                f"an image of {width} x {height} pixels; the file takes {self.size[1]} x {self.size[0]} alone; export "
                "with --size HxW of the images, or with one number, a square, which larger images are tiled with"
            )
        (logits,) = self.runtime.answer(pack(image, self.kind, self.normalization), [LOGITS])
        return torch.from_numpy(logits).to(image.device)
