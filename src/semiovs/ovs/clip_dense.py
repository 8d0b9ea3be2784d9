"""Teacher `clip-dense`: CLIP applied to every patch, without training (MaskCLIP; SemiVL spec, section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import UsageError, WeightsError
from semiovs.models.clip_vit import DenseClipViT, clip_library
from semiovs.models.device import pick_device
from semiovs.models.text import TextCache, embed_concepts
from semiovs.models.text.clip import ClipText, open_model
from semiovs.models.text.encoder import fingerprint
from semiovs.ovs.prompted import PromptedModel
from semiovs.vocab.vocabulary import Vocabulary

#: The long side is at most this many times `size`; longer images become smaller as a whole.
_LONGEST = 4


class DenseClip(PromptedModel):
    """Cosine between each patch and the mean text of each concept, as a probability.

    weights: a file with a whole CLIP (or its name in the weights directory), or a pretrained tag of open_clip; null:
    OpenAI's. model: any open_clip model whose image tower is a plain ViT; weights by OpenAI belong to the names with
    ``-quickgelu``. size: short side of the resized image, pixels. logit_scale: factor on the cosines before the softmax
    (inverse temperature); CLIP was trained with 100, smaller values give less certain scores.

    A concept's probability is exp(scale · s_t) / Σ_k exp(scale · max over the concepts of class k): a softmax over the
    classes, each represented by its best concept, so that synonyms do not halve the confidence. Scores are relative:
    without a background class, every pixel belongs to one of the classes.

    Raises:
        UsageError: no such model, one that has no plain ViT, or weights trained with another activation; WeightsError:
        no weights.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        model: str = "ViT-B-16-quickgelu",
        size: int = 448,
        logit_scale: float = 100.0,
        device: str = "auto",
    ) -> None:
        if not 32 <= size <= 4096:
            raise UsageError(f"teacher 'clip-dense': size {size} is not between 32 and 4096 pixels")
        if not 0 < logit_scale <= 1000:
            raise UsageError(f"teacher 'clip-dense': logit_scale {logit_scale} is not between 0 and 1000")
        self.device = pick_device(device)
        self.model, self.size, self.logit_scale = model, size, logit_scale
        clip = _open(model, str(weights or "openai")).eval().requires_grad_(False)
        self.tower = DenseClipViT(clip.visual).eval().to(self.device)
        self.identity = fingerprint(clip.state_dict())
        look = clip.visual.preprocess_cfg
        self._mean, self._std = (torch.tensor(look[key], device=self.device).view(3, 1, 1) for key in ("mean", "std"))
        clip.visual = None
        self.text = ClipText(clip.to(self.device), _load_tokenizer(model))
        self._asked: tuple[str, Tensor] | None = None

    def describe(self) -> dict[str, Any]:
        """Model, hash of its weights, and what changes its answers."""
        return {"model": self.model, "weights": self.identity, "size": self.size, "logit_scale": self.logit_scale}

    @torch.inference_mode()
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """One map (T, h, w) in [0, 1] an image, at one cell a patch."""
        text = self._embed_vocabulary(vocabulary)
        owners = torch.tensor(vocabulary.owners, device=self.device)
        found: dict[int, Tensor] = {}
        for members, batch in self._group_by_size(images):
            (dense,) = self.tower(batch)
            similarity = torch.einsum("bchw,tc->bthw", dense, text)
            found |= zip(members, compute_concept_probabilities(similarity, owners, self.logit_scale), strict=True)
        return [found[index] for index in range(len(images))]

    def _embed_vocabulary(self, vocabulary: Vocabulary) -> Tensor:
        """(T, C) of length 1: the mean over the templates."""
        if self._asked is None or self._asked[0] != vocabulary.hash:
            features = embed_concepts(self.text, vocabulary.prompts, vocabulary.templates, cache=TextCache.default())
            self._asked = (vocabulary.hash, F.normalize(features.mean(dim=1), dim=-1).to(self.device))
        return self._asked[1]

    def _group_by_size(self, images: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
        """Images that the tower sees at one size, with their places in the list."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(fit_size(image.shape[-2], image.shape[-1], self.size, self.tower.patch), []).append(index)
        for size, members in groups.items():
            yield members, torch.stack([self._prepare(images[index], size) for index in members])

    def _prepare(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        pixels = image.to(self.device)[None].float() / 255
        resized = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        return (resized[0] - self._mean) / self._std


def compute_concept_probabilities(similarity: Tensor, owners: Tensor, scale: float) -> Tensor:
    """Cosines (B, T, h, w) and the class of each concept (T,) -> probabilities (B, T, h, w), see `DenseClip`."""
    logits = similarity.float() * scale
    best = torch.stack([logits[:, owners == k].amax(dim=1) for k in torch.unique(owners)], dim=1)
    return (logits - best.logsumexp(dim=1, keepdim=True)).exp().clamp_(max=1)


def fit_size(height: int, width: int, short: int, multiple: int) -> tuple[int, int]:
    """Resized (height, width): short side `short`, unless the long one then exceeds 4 · `short`; both multiples."""
    scale = min(short / min(height, width), _LONGEST * short / max(height, width))
    rows, columns = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
    return rows, columns


def _open(model: str, weights: str) -> Any:
    """The CLIP model on the CPU, in float32."""
    open_clip = clip_library()
    facts = open_clip.get_pretrained_cfg(model, weights)
    config = open_clip.get_model_config(model) or {}
    if facts.get("quick_gelu") and not config.get("quick_gelu"):
        raise UsageError(f"teacher 'clip-dense': weights '{weights}' belong to model={model}-quickgelu, not to {model}")
    try:
        return open_model(model, weights)
    except WeightsError as error:
        other = "labels of any other program do as well: --teacher masks --from DIR"
        raise WeightsError(f"teacher 'clip-dense': {error} (--weights FILE); {other}") from None


def _load_tokenizer(model: str) -> Any:
    return clip_library().get_tokenizer(model)
