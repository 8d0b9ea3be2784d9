"""Images as vectors of an encoder, to find near copies and to choose varied images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from semiovs.models.encoders import build_encoder
from semiovs.similarity.descriptor import Vectors, quantize

#: Numbers that are kept of a picture: a random projection of the encoder's features (Johnson and Lindenstrauss 1984).
WIDTH = 128
_SIDE = 224


class Embedding:
    """Mean of an encoder's last map over a picture of 224² pixels, projected to `WIDTH` numbers of 8 bits.

    name, weights: as for `build_encoder`; weights that are not trained are good for nothing here.

    Raises:
        UsageError, WeightsError: as `build_encoder`.
    """

    def __init__(self, name: str, weights: str | bool = True, device: str = "cpu") -> None:
        encoder = build_encoder(name, pretrained=weights)
        self.module = encoder.module.to(device).eval()
        self.level, self.device = encoder.levels[1], device
        self.mean, self.std = (
            torch.tensor(v).view(3, 1, 1) for v in (encoder.normalization.mean, encoder.normalization.std)
        )
        table = np.random.default_rng(0).standard_normal((encoder.channels[1], WIDTH))
        self.table = torch.from_numpy(table).float()

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        """RGB pictures (H, W, 3) -> (N, WIDTH) int8."""
        batch = torch.stack([self._input(picture) for picture in pictures])
        feature = self.module(batch.to(self.device))[self.level].float().mean(dim=(2, 3)).cpu()
        return quantize((F.normalize(feature, dim=1) @ self.table).numpy())

    def _input(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        small = F.interpolate(image, (_SIDE, _SIDE), mode="bilinear", antialias=True)[0]
        return (small - self.mean) / self.std
