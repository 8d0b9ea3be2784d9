"""SED as a segmenter: the network, the text features of its classes, and images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.models.sed.aggregator import AggregatorSizes
from semiovs.models.sed.dense_encoder import CLIP_PREFIX
from semiovs.models.sed.fast_aggregation import aggregate
from semiovs.models.sed.network import build_sed
from semiovs.models.segmenter import Features, Segmenter
from semiovs.models.text import TextCache, TextEncoder, build_text, embed_concepts, imagenet_templates, width_of
from semiovs.models.text.words import WordText
from semiovs.models.tiling import nearest_multiple
from semiovs.vocab.vocabulary import Vocabulary

#: Probabilities are kept this far from 0 and 1 when they are written as logits.
EPSILON = 1e-6


class SedSegmenter(Segmenter):
    """SED (Xie et al., CVPR 2024), asked with the concepts of a vocabulary; a class's score is the maximum over its
    concepts.

    No weight depends on the classes: `prompt` makes the same model answer for others.

    encoder, stride: image encoder, ``open_clip/NAME`` or timm's (see `build_dense`); resolution: side of the square
    that every image is resized to (SED: 768), None: its own size, brought to multiples of `stride`; text: clip,
    sentence or words, with text_model, text_weights and text_dim as for `build_text`; templates: sentences with a
    ``{}``, None: CLIP's 80 (their number is that of the first convolution's channels); the rest as for
    `AggregatorSizes`. pretrained: of the encoder; true takes the image tower of `text_weights` if the encoder is a CLIP
    tower.

    Raises:
        UsageError: what cannot be built; WeightsError: weights or a text encoder that are missing or do not fit.
    """

    sees_rgb_alone = True

    def __init__(
        self,
        num_classes: int,
        *,
        pretrained: bool | str = False,
        encoder: str = "open_clip/convnext_base_w_320",
        stride: int = 32,
        resolution: int | None = None,
        text: str = "clip",
        text_model: str | None = None,
        text_weights: str | None = None,
        text_dim: int = 64,
        templates: Sequence[str] | None = None,
        hidden: int = 128,
        decoder_dims: Sequence[int] = (64, 32, 16),
        guides: Sequence[int] = (32, 16, 8),
        kernel: int = 9,
        heads: int = 4,
        pool: int = 2,
    ) -> None:
        super().__init__()
        if resolution is not None and (resolution < stride or resolution % stride):
            raise UsageError(f"model.resolution {resolution}: must be a multiple of model.stride, {stride}")
        tower = encoder.removeprefix(CLIP_PREFIX) if encoder.startswith(CLIP_PREFIX) else None
        model = tower if text == "clip" and text_model is None else text_model
        self.num_classes, self.resolution, self.stride = num_classes, resolution, stride
        self.templates = _check_templates(templates)
        self._text: dict[str, Any] = {"kind": text, "model": model, "weights": text_weights, "dim": text_dim}
        self.network = build_sed(
            encoder,
            dim=width_of(text, model=model, dim=text_dim),
            prompts=len(self.templates),
            pretrained=False if tower else pretrained,
            stride=stride,
            sizes=AggregatorSizes(hidden, decoder_dims, guides, kernel, heads, pool),
        )
        if tower and pretrained:
            self._take_tower(tower, text_weights if pretrained is True else pretrained)
        self.normalization = self.network.normalization
        #: The text tower that is trained with the network; None: texts are embedded once, by an encoder that is not
        #: kept.
        self.words = WordText(text_dim) if text == "words" else None
        self.vocabulary: Vocabulary | None = None
        self._identity: str | None = None
        self.register_buffer("_embedded", None, persistent=False)

    _embedded: Tensor | None

    @property
    def backbone(self) -> nn.Module:  # type: ignore[override]
        """The encoder without its projection, which is trained from scratch with the head's learning rate."""
        body: nn.Module = getattr(self.network.backbone, "body", self.network.backbone)
        return body

    @property
    def towers(self) -> list[nn.Module]:
        """Modules that map into the shared space: the encoder with its projection, and the text tower where it is
        trained.
        """
        return [self.network.backbone, *([self.words] if self.words is not None else [])]

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the classes.

        Raises:
            UsageError: it brings another number of templates than the model reads.
            WeightsError: the text encoder is missing.
        """
        self.vocabulary, self.num_classes = vocabulary, len(vocabulary)
        if self.words is None:
            encoder = self.text_encoder()
            self._embedded = self.embed(vocabulary, encoder).to(self._device)
            self._identity = encoder.identity
        else:
            self._templates_for(vocabulary)

    def facts(self) -> dict[str, str]:
        """Which text encoder the network learnt with; one that is trained is part of the weights and not named."""
        return {} if self._identity is None else {"text": self._identity}

    def text_encoder(self) -> TextEncoder:
        """The text encoder, loaded anew if it is not trained with the network."""
        return self.words if self.words is not None else build_text(**self._text).to(self._device)

    def embed(self, vocabulary: Vocabulary, encoder: TextEncoder | None = None) -> Tensor:
        """Text features (T, P, C) of the prompts of any vocabulary; from the cache on disk where the encoder is not
        trained.
        """
        templates = self._templates_for(vocabulary)
        if self.words is not None:
            return embed_concepts(self.words, vocabulary.prompts, templates)
        return embed_concepts(
            encoder or self.text_encoder(), vocabulary.prompts, templates, cache=TextCache.default()
        ).to(self._device)

    def heads(self, image: Tensor, chosen: Tensor | None = None) -> list[Tensor]:
        """(B, 3, H, W) -> class logits of the result and of the auxiliary heads, each (B, K, ·, ·), for training.

        chosen: positions of the prompts that are asked -> (B, len(chosen), ·, ·), a map a prompt. Without it a class's
        map is the maximum over its concepts, taken before any resize, which is cheaper than the other way round.
        """
        vocabulary, text = self._require_vocabulary(), self._features()
        if chosen is None:
            ground = None if vocabulary.background is None else torch.tensor(vocabulary.background).logit(eps=EPSILON)
            return [_by_class(maps, vocabulary, ground) for maps in self.network(self.fit_to_network(image), text)]
        asked: list[Tensor] = self.network(self.fit_to_network(image), text[chosen])
        return asked

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> dense features and three guides, of the image at network resolution."""
        dense = self.network.backbone(self.fit_to_network(image))
        return (dense.features, *dense.guides)

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:  # noqa: ARG002 - as all
        """-> log-odds (B, K, *size) of the class probabilities, which are resized and pooled as a teacher does."""
        vocabulary = self._require_vocabulary()
        ground = None if vocabulary.background is None else torch.tensor(vocabulary.background)
        return _by_class(self._probabilities(features), vocabulary, ground, size).logit(eps=EPSILON)

    def _probabilities(self, features: Features) -> Tensor:
        """Concept maps (B, T, ·, ·) in [0, 1]; without gradients by the faster `aggregate`."""
        text, aggregator = self._features(), self.network.aggregator
        learning = self.training or torch.is_grad_enabled() or torch.is_autocast_enabled(text.device.type)
        if learning:
            maps: Tensor = aggregator(features[0], text, features[1:])[0]
            return maps.float().sigmoid()
        return torch.stack([aggregate(aggregator, own, text, guides) for own, *guides in zip(*features, strict=True)])

    def fit_to_network(self, image: Tensor) -> Tensor:
        """Image at the resolution of the network, bilinear without antialiasing (SED spec, section 1, step 6)."""
        height, width = image.shape[-2:]
        side = self.resolution
        size = (side, side) if side else (nearest_multiple(height, self.stride), nearest_multiple(width, self.stride))
        if size == (height, width):
            return image
        return F.interpolate(image, size=size, mode="bilinear", align_corners=False)

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _require_vocabulary(self) -> Vocabulary:
        if self.vocabulary is None:
            raise UsageError("model sed has not been told its classes: call prompt(vocabulary) first")
        return self.vocabulary

    def _features(self) -> Tensor:
        return self.embed(self._require_vocabulary()) if self._embedded is None else self._embedded

    def _templates_for(self, vocabulary: Vocabulary) -> tuple[str, ...]:
        given = vocabulary.templates or self.templates
        if len(given) != len(self.templates):
            raise UsageError(
                f"the vocabulary has {len(given)} templates, the model reads {len(self.templates)} (model.templates)"
            )
        return tuple(given)

    def _take_tower(self, model: str, weights: str | None) -> None:
        from semiovs.models.text.clip import open_model

        if weights is None:
            raise UsageError("model.pretrained: true takes the image tower of model.text_weights, which is not given")
        tower: Any = self.network.backbone
        tower.visual.load_state_dict(open_model(model, weights).visual.state_dict())


def _check_templates(templates: Sequence[str] | None) -> tuple[str, ...]:
    if templates is None:
        return imagenet_templates()
    wrong = next((template for template in templates if "{}" not in template), None)
    if wrong is not None or not templates:
        raise UsageError(f"model.templates: {wrong!r}: a template is a sentence with {{}} where the concept stands")
    return tuple(templates)


def _by_class(
    maps: Tensor, vocabulary: Vocabulary, ground: Tensor | None, size: tuple[int, int] | None = None
) -> Tensor:
    """Concept maps (B, T, h, w), resized to `size` -> per class the maximum over its concepts (B, K, ·, ·).

    ground: what stands for class 0 (0-d) where the vocabulary gives it a constant score in place of concepts.
    """
    parts = []
    for part in torch.split(maps, [len(concepts) for concepts in vocabulary.concepts], dim=1):
        if not part.shape[1]:
            assert ground is not None  # the vocabulary allows no other class without concepts
            parts.append(ground.to(maps).expand(len(maps), 1, *(size or maps.shape[2:])))
            continue
        full = part if size is None else F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        parts.append(full.amax(dim=1, keepdim=True))
    return torch.cat(parts, dim=1)
