"""Base class of teachers that compare the vector of each patch with the vectors of texts, without training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.models.text import TextCache, TextEncoder, embed_concepts
from semiovs.ovs.prompted import PromptedModel
from semiovs.vocab.vocabulary import Vocabulary

#: The long side is at most this many times `size`; longer images become smaller as a whole.
_LONGEST = 4


class PatchTextModel(PromptedModel):
    """Cosine between each patch and the mean text of each concept, as a probability.

    A concept's probability is exp(scale · s_t) / Σ_k exp(scale · max over the concepts of class k): a softmax over the
    classes, each represented by its best concept, so that synonyms do not halve the confidence. Scores are relative:
    without a background class, every pixel belongs to one of the classes.

    To be set by those who derive from it: device; size: short side of the resized image, pixels; logit_scale: factor on
    the cosines before the softmax; patch: pixels; mean, std: of the pixels in [0, 1] that its tower wants; text;
    templates: of vocabularies that have none, () for the 80 of ImageNet.
    """

    device: torch.device
    size: int
    logit_scale: float
    patch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    text: TextEncoder
    templates: tuple[str, ...] = ()
    _asked: tuple[str, Tensor] | None = None

    @abstractmethod
    def read_patches(self, images: Tensor) -> Tensor:
        """Normalised (B, 3, H, W), sides multiples of `patch` -> (B, C, h, w) of length 1, one cell a patch."""

    @torch.inference_mode()
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """One map (T, h, w) in [0, 1] an image, at one cell a patch."""
        text = self._embed_vocabulary(vocabulary)
        owners = torch.tensor(vocabulary.owners, device=self.device)
        found: dict[int, Tensor] = {}
        for members, batch in self._group_by_size(images):
            similarity = torch.einsum("bchw,tc->bthw", self.read_patches(batch), text)
            found |= zip(members, compute_concept_probabilities(similarity, owners, self.logit_scale), strict=True)
        return [found[index] for index in range(len(images))]

    def _embed_vocabulary(self, vocabulary: Vocabulary) -> Tensor:
        """(T, C) of length 1: the mean over the templates."""
        if self._asked is None or self._asked[0] != vocabulary.hash:
            sentences = vocabulary.templates or self.templates
            features = embed_concepts(self.text, vocabulary.prompts, sentences, cache=TextCache.default())
            self._asked = (vocabulary.hash, F.normalize(features.mean(dim=1), dim=-1).to(self.device))
        return self._asked[1]

    def _group_by_size(self, images: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
        """Images that the tower sees at one size, with their places in the list."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(fit_size(image.shape[-2], image.shape[-1], self.size, self.patch), []).append(index)
        for size, members in groups.items():
            yield members, torch.stack([self._prepare(images[index], size) for index in members])

    def _prepare(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        pixels = image.to(self.device)[None].float() / 255
        resized = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        mean, std = self._look
        return (resized[0] - mean) / std

    @cached_property
    def _look(self) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (self.mean, self.std))
        return mean, std


def check_numbers(teacher: str, size: Any, logit_scale: Any) -> None:
    """Raise UsageError for a size or a scale that no tower can use."""
    if not 32 <= size <= 4096:
        raise UsageError(f"teacher '{teacher}': size {size} is not between 32 and 4096 pixels")
    if not 0 < logit_scale <= 1000:
        raise UsageError(f"teacher '{teacher}': logit_scale {logit_scale} is not between 0 and 1000")


def compute_concept_probabilities(similarity: Tensor, owners: Tensor, scale: float) -> Tensor:
    """Cosines (B, T, h, w) and the class of each concept (T,) -> probabilities (B, T, h, w), see `PatchTextModel`."""
    logits = similarity.float() * scale
    best = torch.stack([logits[:, owners == k].amax(dim=1) for k in torch.unique(owners)], dim=1)
    return (logits - best.logsumexp(dim=1, keepdim=True)).exp().clamp_(max=1)


def fit_size(height: int, width: int, short: int, multiple: int) -> tuple[int, int]:
    """Resized (height, width): short side `short`, unless the long one then exceeds 4 · `short`; both multiples."""
    scale = min(short / min(height, width), _LONGEST * short / max(height, width))
    rows, columns = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
    return rows, columns
