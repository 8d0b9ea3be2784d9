"""SED's cost aggregation: the similarity of each pixel and each concept, refined into a map per concept (Xie et al.,
CVPR 2024).

Written from the SED spec, section 4; names of parameters are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.models.sed.blocks import Decoder


@dataclass(frozen=True)
class AggregatorSizes:
    """Widths of the aggregator; the published ones without arguments.

    hidden: channels after the first convolution; decoder_dims: after each stage; guides: channels to which image and
    correlation are projected at each stage; kernel: side of the stages' depthwise convolutions; heads: of their
    attention; pool: pixels (a side) that share their attention in training.
    """

    hidden: int = 128
    decoder_dims: Sequence[int] = (64, 32, 16)
    guides: Sequence[int] = (32, 16, 8)
    kernel: int = 9
    heads: int = 4
    pool: int = 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels before the first stage and after each."""
        return (self.hidden, *self.decoder_dims)

    def check(self, guide_dims: Sequence[int]) -> None:
        """Refuse sizes that do not belong together, or to an encoder with guides of `guide_dims` channels.

        Raises:
            UsageError: see there.
        """
        if not len(self.decoder_dims) == len(guide_dims) == len(self.guides) > 0:
            raise UsageError(
                f"SED: {len(guide_dims)} maps of the encoder, {len(self.decoder_dims)} decoder_dims, "
                f"{len(self.guides)} guides; "
                "there must be as many of each, three with a published encoder"
            )
        for width, guide in zip(self.widths, self.guides, strict=False):
            if width % self.heads:
                raise UsageError(
                    f"SED: {self.heads} heads do not divide {width} channels; set heads, hidden or decoder_dims"
                )
            if not 0 < guide < width:
                raise UsageError(
                    f"SED: {guide} channels of guidance in a stage of {width}; there must be fewer, and some"
                )
        for width in self.decoder_dims:
            if width > 16 and width % 16:
                raise UsageError(f"SED: decoder_dims {width} must be a multiple of 16 (groups of 16 channels)")
        if self.kernel % 2 == 0:
            raise UsageError(f"SED: kernel {self.kernel} must be odd")


#: Those of the published models.
PUBLISHED_SIZES = AggregatorSizes()


class Aggregator(nn.Module):
    """Dense image features and text embeddings -> one map of logits per concept.

    prompts: templates per concept, P; guide_dims: channels of the image's maps at twice, four, … times the resolution
    of the dense features, one a stage (SED has three stages).

    Raises:
        UsageError: sizes that do not belong together.
    """

    def __init__(self, prompts: int, guide_dims: Sequence[int], sizes: AggregatorSizes = PUBLISHED_SIZES) -> None:
        super().__init__()
        sizes.check(guide_dims)
        widths, guides, hidden = sizes.widths, sizes.guides, sizes.hidden
        self.prompts, self.pool, self.stages = prompts, sizes.pool, len(guides)
        self.conv1 = nn.Conv2d(prompts, hidden, 7, padding=3)
        self.decoder_guidance_projection = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, guide, 3, padding=1), nn.ReLU())
            for dim, guide in zip(guide_dims, guides, strict=True)
        )
        self.decoder_corr_guidance_projection = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(before, guide, 2, 2), nn.ReLU())
            for before, guide in zip((prompts, *guides[:-1]), guides, strict=True)
        )
        for number, (before, after, guide) in enumerate(zip(widths, widths[1:], guides, strict=False), start=1):
            decoder = Decoder(before, after, guide, guide, kernel=sizes.kernel, heads=sizes.heads)
            self.add_module(f"decoder{number}", decoder)
        for number, width in enumerate(widths[:-1]):
            self.add_module(f"head{number}", nn.Conv2d(width, 1, 3, padding=1))
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    @property
    def decoders(self) -> list[Decoder]:
        """The stages."""
        return [cast(Decoder, self.get_submodule(f"decoder{number + 1}")) for number in range(self.stages)]

    @property
    def early_heads(self) -> list[nn.Conv2d]:
        """The auxiliary heads: on the output of `conv1` and of each stage but the last."""
        return [cast(nn.Conv2d, self.get_submodule(f"head{number}")) for number in range(self.stages)]

    def forward(
        self, dense: Tensor, text: Tensor, guides: Sequence[Tensor], *, pool: int | None = None
    ) -> list[Tensor]:
        """Dense features (B, C, h, w), text (T, P, C), image maps at (2h, 2w), (4h, 4w), … -> maps of logits.

        With three stages: the result (B, T, 8h, 8w), then those of the auxiliary heads at h, 2h and 4h, which train
        themselves alone. Guides send no gradient back. pool: None takes the module's own in training and 1 otherwise.

        Raises:
            ValueError: shapes that do not belong together.
        """
        self.check(dense, text, guides)
        pool = pool or (self.pool if self.training else 1)
        batch = len(dense)
        correlation = correlate(dense, F.normalize(text.float(), dim=-1))
        x = self.conv1(correlation)
        features = [x]
        for index, decoder in enumerate(self.decoders):
            correlation = self.decoder_corr_guidance_projection[index](correlation)
            guide = self.decoder_guidance_projection[index](guides[index].detach())
            x = decoder(x, guide, correlation, pool)
            features.append(x)
        early = [head(feature.detach()) for head, feature in zip(self.early_heads, features, strict=False)]
        return [logits.view(batch, -1, *logits.shape[2:]) for logits in (self.head(x), *early)]

    def check(self, dense: Tensor, text: Tensor, guides: Sequence[Tensor]) -> None:
        """Raise ValueError for shapes that do not belong together."""
        batch, channels, height, width = dense.shape
        if text.ndim != 3 or text.shape[0] < 1 or text.shape[1:] != (self.prompts, channels):
            raise ValueError(f"text of shape {tuple(text.shape)}; (concepts, {self.prompts}, {channels}) is expected")
        for index, guide in enumerate(guides):
            scale = 2 ** (index + 1)
            if guide.shape[0] != batch or guide.shape[2:] != (scale * height, scale * width):
                raise ValueError(
                    f"guide {index} of shape {tuple(guide.shape)} beside dense features of {tuple(dense.shape)}: "
                    f"its sides must be {scale} times theirs"
                )


def correlate(dense: Tensor, prompts: Tensor) -> Tensor:
    """Cosine similarity of each pixel (B, C, h, w) and each prompt (T, P, C) of length 1: (B·T, P, h, w).

    CLIP's scale has no part in it. Lengths are taken in fp32.
    """
    pixels = F.normalize(dense.float(), dim=1).flatten(2).to(dense.dtype)
    similar = prompts.flatten(0, 1).to(dense.dtype) @ pixels
    return similar.view(-1, prompts.shape[1], *dense.shape[2:])
