"""SemiVL as a segmenter: CLIP's image tower, partly trained, and a decoder that is guided by the names of the
classes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import DataError, UsageError
from semiovs.models.clip_vit import DenseClipViT
from semiovs.models.decoders.vlg import VlgDecoder, VlgSizes
from semiovs.models.sed.dense_encoder import CLIP_NORMALIZATION
from semiovs.models.segmenter import Features, Normalization, Segmenter, refuse_context
from semiovs.models.semivl.guide import Guide
from semiovs.models.semivl.text import TEMPLATES, ClassTexts, check_asked
from semiovs.models.semivl.tower import Stem, open_tower, renormalize
from semiovs.vocab.vocabulary import Vocabulary

TRAINED = ("attention", "all")
#: In the names of the parameters that `attention` trains.
_ATTENTION = (".attn.", "positional_embedding")


class SemiVLSegmenter(Segmenter):
    """SemiVL's model (Hoyer et al., ECCV 2024). No weight depends on the classes: `prompt` makes it answer for others.

    encoder: open_clip's name of a CLIP with a plain ViT, or `tiny`; image_size: side of the training crops, for which
    the position table is made; taps: blocks whose value paths are the skip maps; stem: a timm ResNet whose first stage
    is one more (Cityscapes: resnet101c, with one tap); act, ln_eps: of the tower, see `as_semivl`; renorm: the tower
    sees images normalised as CLIP's; trained: `attention` (with the position table; the rest of the tower stays as it
    is) or `all`; channels … dilations: see `VlgSizes`; text … text_embeddings: see `ClassTexts`; pretrained: of tower
    and stem, see `open_tower`.

    parity: logits go through a square of `image_size` on their way to the image's size, as published; it matters only
    for images that are no such squares.

    Raises:
        UsageError: what cannot be built; WeightsError: weights that are missing or do not fit.
    """

    prompted = ("texts.rows", "texts.key")
    sees_rgb_alone = True
    fixed_grid = True
    backbone: Encoder

    def __init__(
        self,
        num_classes: int,
        *,
        pretrained: bool | str = False,
        encoder: str = "ViT-B-16-quickgelu",
        image_size: int = 512,
        taps: Sequence[int] = (0, 4),
        stem: str | None = None,
        act: str = "gelu",
        ln_eps: float = 1e-6,
        renorm: bool = False,
        trained: str = "attention",
        channels: int = 128,
        up_channels: Sequence[int] = (64, 32),
        skip_channels: Sequence[int] = (32, 16),
        layers: int = 2,
        heads: int = 4,
        pool: int = 4,
        dilations: Sequence[int] = (6, 12, 18),
        text: str = "clip",
        text_model: str | None = None,
        text_weights: str | None = None,
        text_embeddings: str | None = None,
        asked: str = "names",
        templates: Sequence[str] = TEMPLATES,
        parity: bool = False,
    ) -> None:
        super().__init__()
        _check(taps, stem, trained, skip_channels, up_channels)
        self.num_classes, self.image_size, self.parity = num_classes, image_size, parity
        self._origin: dict[str, Any] = {"encoder": encoder, "image_size": image_size, "pretrained": pretrained}
        self._origin |= {"act": act, "ln_eps": ln_eps}
        self._wanted = CLIP_NORMALIZATION if renorm else None
        tower = open_tower(taps=tuple(taps), **self._origin)
        self.backbone = Encoder(tower, stem, given=self.normalization, wanted=self._wanted, pretrained=bool(pretrained))
        if trained == "attention":
            _train_attention(tower)
        sizes = VlgSizes(channels, up_channels, skip_channels, layers, heads, pool, dilations)
        self.decoder = VlgDecoder(tower.dim, self.backbone.skip_dims, sizes)
        self.texts = ClassTexts(
            num_classes,
            tower.dim,
            kind=text,
            model=text_model or encoder,
            weights=text_weights or pretrained,
            embeddings=text_embeddings,
            asked=asked,
            templates=templates,
        )

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the classes; texts that came with the weights are kept if they are the same.

        Raises:
            WeightsError: the text encoder, or the file of embeddings, is missing or of another vocabulary.
        """
        self.texts.tell(vocabulary)
        self.num_classes = len(vocabulary)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The classes that were set."""
        return self.texts.vocabulary

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> skip maps (B, D, h, w) in the order of the taps, dense features (B, C, h, w), the stem's map.

        Raises:
            DataError: an image smaller than a patch.
        """
        height, width = image.shape[-2:]
        patch = self.backbone.clip.patch
        if min(height, width) < patch:
            raise DataError(
                f"image of {width} x {height} pixels: smaller than a patch of the encoder, {patch} pixels; "
                "enlarge it or leave it out"
            )
        found: Features = self.backbone(image)
        return found

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """-> logits (B, K, *size)."""
        refuse_context("semivl", context)
        taps = len(self.backbone.clip.taps)
        skips = [*reversed(features[:taps]), *features[taps + 1 :]]
        logits = self.decoder(features[taps], skips, self.texts())
        if self.parity:
            logits = _resize(logits, (self.image_size, self.image_size))
        return _resize(logits, size)

    def guide(self) -> Guide:
        """CLIP as it was before any training, frozen: opened anew where its weights came from, else a copy of the
        present tower.
        """
        published = bool(self._origin["pretrained"])
        tower = open_tower(**self._origin) if published else copy.deepcopy(self.backbone.clip)
        tower.taps = ()
        device = next(self.parameters()).device
        known = published and self.texts.words is None
        return Guide(tower, known=known, given=self.normalization, wanted=self._wanted).to(device)


class Encoder(nn.Module):
    """Image (B, 3, H, W) -> the tower's maps, see `DenseClipViT`, and that of the stem where there is one.

    given, wanted: how images come normalised, and how the tower wants them (None: as they come); the stem sees them as
    they come.
    """

    def __init__(
        self,
        clip: DenseClipViT,
        stem: str | None,
        *,
        given: Normalization,
        wanted: Normalization | None,
        pretrained: bool,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.stem = Stem(stem, pretrained=pretrained) if stem else None
        self.given, self.wanted = given, wanted
        width = clip.tower.conv1.out_channels
        #: Channels of the skip maps, the deepest first.
        self.skip_dims = [width] * len(clip.taps) + ([self.stem.channels] if self.stem else [])

    def forward(self, image: Tensor) -> Features:
        """The maps."""
        seen = image if self.wanted is None else renormalize(image, self.given, self.wanted)
        return (*self.clip(seen), *(() if self.stem is None else (self.stem(image),)))


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if logits.shape[-2:] == torch.Size(size):
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def _check(
    taps: Sequence[int], stem: str | None, trained: str, skip_channels: Sequence[int], up_channels: Sequence[int]
) -> None:
    check_asked(trained, TRAINED, "model.trained")
    if list(taps) != sorted(set(taps)):
        raise UsageError(f"model.taps {list(taps)}: must be different blocks in ascending order")
    skips = len(taps) + bool(stem)
    if not skips == len(skip_channels) == len(up_channels):
        raise UsageError(
            f"model: {skips} skip maps ({len(taps)} taps{' and a stem' if stem else ''}) for {len(skip_channels)} "
            f"skip_channels "
            f"and {len(up_channels)} up_channels; there must be as many of each"
        )


def _train_attention(tower: nn.Module) -> None:
    """Leave only the attention layers and position embeddings trainable."""
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(any(part in name for part in _ATTENTION))
