"""Trained SED networks: the published files and models of `semiovs ovs train`, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from semiovs.env import weights_dir
from semiovs.errors import UsageError, WeightsError
from semiovs.files import sha256_of
from semiovs.models.sed.checkpoint import Published, check_variant, from_state
from semiovs.models.sed.network import Sed
from semiovs.models.sed_layout import VARIANTS
from semiovs.models.statedict import load_pickle, read_state, unwrap
from semiovs.models.text import TextCache, embed_concepts
from semiovs.models.weight_catalog import find_file
from semiovs.vocab.vocabulary import Vocabulary

#: What the published predictor does to an image first: short side, and longest long side, in pixels.
PUBLISHED_EDGES = (640, 2560)
#: Sides of the square that the published network sees.
PUBLISHED_SIZE = (768, 768)


@dataclass(frozen=True)
class TrainedSed:
    """A trained network with its text features and input sizes.

    embed: vocabulary -> text features (T, P, C); size: sides to which every image is resized, None: near its own;
    edges: short side and longest side of the resize before that one, None: there is none; facts: plain data that tells
    these weights from others.
    """

    network: Sed
    embed: Callable[[Vocabulary], Tensor]
    size: tuple[int, int] | None = PUBLISHED_SIZE
    edges: tuple[int, int] | None = PUBLISHED_EDGES
    facts: Mapping[str, Any] = field(default_factory=dict)

    def features(self, vocabulary: Vocabulary) -> Tensor:
        """Text features (T, P, C) of a vocabulary, from the cache on disk where the text encoder is fixed.

        Raises:
            UsageError: a vocabulary with another number of templates than the network reads.
        """
        wanted, given = self.network.aggregator.prompts, len(vocabulary.templates)
        if given and given != wanted:
            raise UsageError(
                f"teacher 'sed': the vocabulary has {given} templates, but these weights read {wanted}; leave "
                f"templates away"
            )
        with torch.no_grad():
            return self.embed(vocabulary)


def open_trained(weights: str | Path | None, *, variant: str | None = None) -> TrainedSed:
    """Open a published file, a model file of ours, or a run directory; None: the published file in the weights
    directory.

    variant: large or base, None: whatever the file is.

    Raises:
        WeightsError: nothing there, damaged, or anything else than SED; UsageError: no such variant.
    """
    check_variant(variant)
    path = _find(weights, variant)
    if path.is_dir() or _is_ours(path):
        return _open_model(path)
    if path.suffix == ".safetensors":
        state = read_state(path)
    else:
        data = load_pickle(path)
        if isinstance(data, Mapping) and "card" in data:
            return _open_model(path)
        state = unwrap(data, where=str(path))
    return from_published(from_state(state, variant=variant, where=str(path)), {"weights": sha256_of(path)})


def from_published(published: Published, facts: Mapping[str, Any]) -> TrainedSed:
    """The published network with the text tower of the same file."""
    network = published.network

    def embed(vocabulary: Vocabulary) -> Tensor:
        encoder = published.text.to(next(network.parameters()).device)
        return embed_concepts(encoder, vocabulary.prompts, vocabulary.templates, cache=TextCache.default())

    return TrainedSed(network, embed, facts={"variant": published.variant, **facts})


def _open_model(source: Path) -> TrainedSed:
    from semiovs.models.sed.segmenter import SedSegmenter
    from semiovs.models.weights import find_model, load_model

    path = find_model(source)
    segmenter, card = load_model(path)
    if not isinstance(segmenter, SedSegmenter):
        raise WeightsError(
            f"{path}: holds a segmenter '{card.segmenter}', which cannot be asked with words; train a 'sed'"
        )
    segmenter.requires_grad_(False)
    side = segmenter.resolution
    facts = {"weights": sha256_of(path), **segmenter.facts()}
    return TrainedSed(segmenter.network, segmenter.embed, size=(side, side) if side else None, edges=None, facts=facts)


def _find(weights: str | Path | None, variant: str | None) -> Path:
    if weights is not None and Path(weights).expanduser().is_dir():
        return Path(weights).expanduser()
    names = (
        [str(weights)] if weights is not None else [f"sed_model_{name}" for name in VARIANTS if variant in (None, name)]
    )
    for name in names:
        found = find_file(name)
        if found is not None:
            return found
    if weights is not None:
        raise WeightsError(f"{weights}: no such file, and none of that name in {weights_dir()} (SEMIOVS_WEIGHTS_DIR)")
    raise WeightsError(
        f"teacher 'sed' has no weights: download sed_model_{variant or 'large'}.pth, linked on the SED project's page, "
        f"into {weights_dir()} (SEMIOVS_WEIGHTS_DIR), or give weights=FILE"
    )


def _is_ours(path: Path) -> bool:
    """Whether a safetensors file holds one of our models."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return "semiovs" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return True  # the loader of our models says what is wrong with it
