"""SED: an image encoder and the aggregator that compares its pixels with texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.models.sed.aggregator import PUBLISHED_SIZES, Aggregator, AggregatorSizes
from semiovs.models.sed.dense_encoder import Dense, DenseEncoder, build_dense
from semiovs.models.sed.fast_aggregation import BUDGET, aggregate
from semiovs.models.segmenter import Normalization


class Sed(nn.Module):
    """Open-vocabulary segmentation network: image and text embeddings -> a map per concept.

    backbone: the image encoder (its own learning rate in training); every other parameter is in `aggregator`.
    """

    def __init__(self, backbone: DenseEncoder, aggregator: Aggregator) -> None:
        super().__init__()
        self.backbone = backbone
        self.aggregator = aggregator

    @property
    def normalization(self) -> Normalization:
        """What images must be normalised with."""
        return self.backbone.normalization

    def forward(self, image: Tensor, text: Tensor, *, pool: int | None = None) -> list[Tensor]:
        """Image (B, 3, H, W), normalised, at network resolution, and text (T, P, C) -> logits (B, T, ·, ·) of each
        head.

        With three stages these are the result, at an eighth of the encoder's stride (192×192 for 768×768 at stride 32),
        then those of the three auxiliary heads at 8, 4 and 2 times that stride. Text need not be normalised. pool: as
        for `Aggregator`.

        Raises:
            ValueError: sides that the encoder's stride does not divide, or text of other prompts or channels.
        """
        features, guides = self.encode(image)
        logits: list[Tensor] = self.aggregator(features, text, guides, pool=pool)
        return logits

    @torch.no_grad()
    def probabilities(
        self, image: Tensor, text: Tensor, *, topk: int | None = None, budget: int = BUDGET
    ) -> list[Tensor]:
        """As `forward` and a sigmoid, for inference: image (B, 3, H, W), text (T, P, C) -> B maps (T, h, w) in [0, 1].

        The encoder sees the images together, the aggregator one by one (`fast_aggregation.aggregate`, with `topk` and
        `budget` as there).

        Raises:
            ValueError: as `forward`.
        """
        features, guides = self.encode(image)
        prompts = F.normalize(text.float(), dim=-1)
        each = zip(features, *guides, strict=True)
        return [aggregate(self.aggregator, own, prompts, levels, topk=topk, budget=budget) for own, *levels in each]

    def encode(self, image: Tensor) -> Dense:
        """What the aggregator reads of images (B, 3, H, W)."""
        height, width = image.shape[-2:]
        if height % self.backbone.stride or width % self.backbone.stride:
            raise ValueError(f"image of {width}x{height}: sides must be multiples of {self.backbone.stride}")
        dense: Dense = self.backbone(image)
        return dense


def build_sed(
    encoder: str,
    *,
    dim: int,
    prompts: int,
    pretrained: bool | str = False,
    stride: int = 32,
    sizes: AggregatorSizes = PUBLISHED_SIZES,
) -> Sed:
    """Build SED without trained weights.

    encoder, stride, pretrained: as for `build_dense`; dim: channels of the text embeddings; prompts: templates per
    concept.

    Raises:
        UsageError: an encoder or a size that cannot be taken; WeightsError: `pretrained` does not fit.
    """
    backbone = build_dense(encoder, dim=dim, stride=stride, pretrained=pretrained)
    return Sed(backbone, Aggregator(prompts, backbone.guide_dims, sizes))
