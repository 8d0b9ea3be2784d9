"""From the concepts of a vocabulary to text features (SED spec, section 3), with a cache on disk.

One vector for each concept and template: templates are not averaged, synonyms within one concept are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from semiovs.env import cache_dir
from semiovs.files import write_bytes
from semiovs.models.clip_vit import clip_library
from semiovs.models.text.encoder import TextEncoder
from semiovs.vocab.rules import split_synonyms

#: How many templates `imagenet_templates` has.
IMAGENET_TEMPLATES = 80
#: Concepts that are encoded before they are written: a killed job loses no more.
_CHUNK = 32


@once
def imagenet_templates() -> tuple[str, ...]:
    """The 80 sentences that CLIP was tried with on ImageNet, in the order that SED's first convolution learnt."""
    return tuple(template("{}") for template in clip_library().OPENAI_IMAGENET_TEMPLATES)


def embed_concepts(
    encoder: TextEncoder, prompts: Sequence[str], templates: Sequence[str] = (), *, cache: TextCache | None = None
) -> Tensor:
    """T concepts, P templates with a ``{}`` (the 80 of `imagenet_templates` if empty) -> (T, P, C) float32.

    Each prompt's vector has length 1; of synonyms the mean is taken and brought to length 1 again. Without `cache`,
    gradients flow into an encoder that is being trained; with it, only what the cache lacks is encoded.
    """
    sentences = tuple(templates) or imagenet_templates()
    if cache is None:
        return _embed_all(encoder, prompts, sentences)
    found = {prompt: cache.get(encoder.identity, prompt, sentences) for prompt in dict.fromkeys(prompts)}
    lacking = [prompt for prompt, features in found.items() if features is None]
    for first in range(0, len(lacking), _CHUNK):
        part = lacking[first : first + _CHUNK]
        with torch.no_grad():
            fresh = _embed_all(encoder, part, sentences).cpu()
        for prompt, own in zip(part, fresh, strict=True):
            cache.put(encoder.identity, prompt, sentences, own)
            found[prompt] = own
    rows = [features for prompt in prompts if (features := found[prompt]) is not None]
    return torch.stack(rows) if rows else torch.zeros(0, len(sentences), encoder.dim)


def prompts_of(concept: str, templates: Sequence[str]) -> list[str]:
    """Every synonym in every template: template by template, within it synonym by synonym."""
    return [template.replace("{}", synonym) for template in templates for synonym in split_synonyms(concept)]


def _embed_all(encoder: TextEncoder, prompts: Sequence[str], templates: Sequence[str]) -> Tensor:
    texts = [text for prompt in prompts for text in prompts_of(prompt, templates)]
    if not texts:
        return torch.zeros(0, len(templates), encoder.dim)
    vectors = F.normalize(encoder.encode(texts), dim=-1)
    counts = [len(templates) * len(split_synonyms(prompt)) for prompt in prompts]
    return torch.stack([_merge_templates(own, len(templates)) for own in torch.split(vectors, counts)])


def _merge_templates(vectors: Tensor, templates: int) -> Tensor:
    """(P · S, C) of one concept -> (P, C)."""
    if len(vectors) == templates:
        return vectors
    return F.normalize(vectors.reshape(templates, -1, vectors.shape[1]).mean(dim=1), dim=-1)


@dataclass(frozen=True)
class TextCache:
    """Text features on disk, one file for an encoder and concept, with a row for each template it was asked with.

    Files are replaced whole, so that two jobs may share a cache; an entry that cannot be read or whose checksum is
    wrong counts as absent.
    """

    root: Path

    @classmethod
    def default(cls) -> TextCache:
        """In `SEMIOVS_CACHE`."""
        return cls(cache_dir() / "text")

    def get(self, identity: str, concept: str, templates: Sequence[str]) -> Tensor | None:
        """(P, C) of `concept`, or None if a template is not there yet."""
        rows = self._read(identity, concept)
        return torch.stack([rows[t] for t in templates]) if templates and all(t in rows for t in templates) else None

    def put(self, identity: str, concept: str, templates: Sequence[str], features: Tensor) -> None:
        """Add (P, C) to what there is of `concept`."""
        rows = {**self._read(identity, concept), **dict(zip(templates, features, strict=True))}
        block = torch.stack(list(rows.values())).contiguous()
        facts = {"identity": identity, "concept": concept, "templates": json.dumps(list(rows)), "sha256": _sum(block)}
        write_bytes(self._path(identity, concept), save({"features": block}, facts))

    def _read(self, identity: str, concept: str) -> dict[str, Tensor]:
        path = self._path(identity, concept)
        if not path.is_file():
            return {}
        try:
            with safe_open(path, "pt") as file:
                facts, block = file.metadata() or {}, file.get_tensor("features")
            same = (facts["identity"], facts["concept"], facts["sha256"]) == (identity, concept, _sum(block))
            return dict(zip(json.loads(facts["templates"]), block, strict=True)) if same else {}
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            return {}

    def _path(self, identity: str, concept: str) -> Path:
        return self.root / _short(identity) / f"{_short(concept)}.safetensors"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _sum(block: Tensor) -> str:
    return hashlib.sha256(block.numpy().tobytes()).hexdigest()
