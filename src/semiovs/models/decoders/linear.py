"""A linear classifier on a frozen encoder: what its features are worth without any training of them."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from semiovs.models.decoders.deeplabv3plus import resize
from semiovs.models.encoders import build_encoder, is_own_encoder
from semiovs.models.segmenter import Features, Segmenter, check_num_classes, refuse_context


class LinearProbe(Segmenter):
    """Maps of a frozen encoder, standardised over the batch, and one 1x1 convolution (as in Oquab et al. 2023, 7.4).

    num_classes: K of the logits; pretrained: encoder weights (see `build_encoder`, `build_vit`); encoder: any that
    `deeplabv3plus` (its maps at stride 4 and at the output stride) or `dpt` (the last of its four maps) can take;
    output_stride: of a convolutional encoder.

    stride: pixels a cell of the last map; `pyramid` gives more maps than the probe reads.

    Raises:
        UsageError: an option that cannot be taken, or an encoder that does not fit.
        WeightsError: encoder weights that are missing or of another network.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        pretrained: bool | str = False,
        encoder: str = "resnet101s",
        output_stride: int = 16,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.num_classes, self._side = num_classes, 1
        if _is_vit(encoder):
            from semiovs.models.vit import build_vit  # late: it imports timm, and that torchvision

            self.backbone, self._patches, self.normalization = build_vit(encoder, pretrained=pretrained)
            self._side, self.channels = self._patches.side, (self._patches.width,)
            self.fixed_grid = True
        else:
            built = build_encoder(encoder, output_stride=output_stride, pretrained=pretrained)
            self.backbone, self._levels, self.normalization = built.module, built.levels, built.normalization
            self.channels = built.channels
        self.stride = output_stride if self._side == 1 else self._side
        self.backbone.requires_grad_(False).eval()
        self.head = nn.Sequential(
            nn.BatchNorm2d(sum(self.channels), affine=False), nn.Conv2d(sum(self.channels), num_classes, 1)
        )

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> the maps of the frozen encoder."""
        maps = self.pyramid(image)
        return (maps[0], maps[-1]) if self._side == 1 else maps

    def pyramid(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> every map from stride 4 to the last one; of a vision transformer the last one alone."""
        with torch.no_grad():
            if self._side == 1:
                return tuple(self.backbone(image)[self._levels[0] : self._levels[1] + 1])
            image = nn.functional.pad(image, (0, -image.shape[-1] % self._side, 0, -image.shape[-2] % self._side))
            return self._patches.maps(self.backbone, image)[-1:]

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """Maps -> logits (B, K, *size)."""
        refuse_context("linear-probe", context)
        fine = features[0].shape[-2:]
        logits = self.head(torch.cat([resize(each, fine) for each in features], dim=1))
        whole = tuple(-(-length // self._side) * self._side for length in size)
        return resize(logits, whole)[..., : size[0], : size[1]]

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; the encoder stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self


def _is_vit(encoder: str) -> bool:
    """Whether timm knows `encoder` as a vision transformer."""
    if is_own_encoder(encoder):
        return False
    import timm

    known = timm.is_model(encoder)
    return known and timm.model_entrypoint(encoder).__module__.rpartition(".")[2] in ("vision_transformer", "eva")
