"""Students whose answers are known, and that cost nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.models.segmenter import Segmenter
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary(("sky", "road", "car"), (), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


class PixelStudent(Segmenter):
    """Sees single pixels alone, so that windows change nothing."""

    def __init__(self, bands: int = 3, reach: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.num_classes, self.reach = 3, reach
        self.backbone = nn.Conv2d(bands, 3, 1)
        self.backbone.weight.data *= 3

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.backbone(F.avg_pool2d(image, self.reach, ceil_mode=True)),)

    def decode(self, features: tuple[Tensor, ...], size: tuple[int, int], **context: Tensor) -> Tensor:
        return F.interpolate(features[0], size=size)

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.encode(image), (image.shape[-2], image.shape[-1]))
