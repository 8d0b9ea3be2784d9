"""Text embeddings of the class names (SemiVL spec, section 3), by CLIP or from published files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.array_files import read_array
from semiovs.errors import DataError, UsageError, WeightsError, did_you_mean
from semiovs.models.semivl.tower import weights_of, where_to_put
from semiovs.models.text import TextEncoder, build_text
from semiovs.models.text.words import WordText
from semiovs.vocab.rules import split_synonyms
from semiovs.vocab.vocabulary import Vocabulary

#: The sentence of all published embeddings.
TEMPLATES = ("a photo of a {}",)
#: What a class is asked with: its name; its concepts (with their synonyms), one vector each; or the mean of those.
ASKED = ("names", "concepts", "mean")

#: The phrases of each class; how many concepts each class has.
Phrases = tuple[tuple[str, ...], ...]
Counts = tuple[int, ...]


class ClassTexts(nn.Module):
    """Text embeddings (K, C) of a segmenter's classes.

    kind: `clip`, embedded once and kept with the weights, so that who loads them needs no text encoder; or `words`, a
    small tower that is trained with the segmenter. model, weights: the CLIP whose text tower embeds, and its weights as
    for `open_tower`; embeddings: a .npy file with a row a class (as published) in its place; asked: names, or the mean
    of each class's concepts; templates: sentences with a ``{}``, unless the vocabulary has its own.
    """

    rows: Tensor
    key: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        kind: str,
        model: str,
        weights: bool | str,
        embeddings: str | None,
        asked: str,
        templates: Sequence[str],
    ) -> None:
        super().__init__()
        check_asked(asked, ("names", "mean"), "model.asked")
        check_asked(kind, ("clip", "words"), "model.text")
        self.dim, self.model, self.weights, self.embeddings = dim, model, weights, embeddings
        self.asked, self.templates = asked, tuple(templates)
        self.words = WordText(dim) if kind == "words" else None
        self.vocabulary: Vocabulary | None = None
        self.register_buffer("rows", torch.zeros(num_classes, dim))
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """(K, C); gradients flow into `words`."""
        if self.vocabulary is None:
            raise UsageError("model semivl has not been told its classes: call prompt(vocabulary) first")
        return self.rows if self.words is None else self._embed(self.words, self.vocabulary, self.asked)

    def tell(self, vocabulary: Vocabulary) -> None:
        """Set the class names; rows that were made of the same names are kept."""
        self.vocabulary = vocabulary
        phrases = phrases_of(vocabulary, self.asked)
        key = _key(phrases, self._templates(vocabulary), self.embeddings)
        if self.words is not None or int(self.key) == key:
            return
        if self.embeddings is not None:
            rows = read_embeddings(
                self.embeddings, len(vocabulary), self.dim, option="model.text_embeddings", what="classes"
            )
        else:
            rows = self._embed(self.encoder(), vocabulary, self.asked)
        self.rows = rows.to(self.rows)
        self.key.fill_(key)

    def concepts(self, vocabulary: Vocabulary, asked: str, file: str | None, *, option: str) -> tuple[Tensor, Counts]:
        """Text embeddings (T, C) of a guide's concepts, and how many belong to each class.

        file: a .npy file of T rows in place of the text encoder; option: its name, for errors.
        """
        phrases = phrases_of(vocabulary, asked)
        counts = tuple(len(own) for own in phrases)
        if file is not None:
            rows = read_embeddings(file, sum(counts), self.dim, option=option, what="concepts")
        elif self.words is not None:
            rows = self._embed(self.words, vocabulary, asked).detach()
        else:
            rows = self._embed(self.encoder(), vocabulary, asked)
        return rows.to(self.rows), counts

    def encoder(self) -> TextEncoder:
        """CLIP's text tower, loaded anew.

        Raises:
            WeightsError: it cannot be had.
        """
        if not self.weights:
            raise WeightsError(
                f"model.text=clip: CLIP {self.model} without weights knows no words; set model.pretrained=true (or "
                f"text_weights), "
                "give model.text_embeddings=FILE, or set model.text=words"
            )
        weights = weights_of(self.model, self.weights)
        try:
            encoder = build_text("clip", model=self.model, weights=weights)
        except WeightsError as error:
            raise WeightsError(f"{error} ({where_to_put(self.model, str(weights))})") from None
        if encoder.dim != self.dim:
            raise UsageError(f"model.text_model: {self.model} has {encoder.dim} dimensions, the image tower {self.dim}")
        return encoder.to(self.rows.device)

    def _embed(self, encoder: TextEncoder, vocabulary: Vocabulary, asked: str) -> Tensor:
        return embed_phrases(encoder, phrases_of(vocabulary, asked), asked, self._templates(vocabulary))

    def _templates(self, vocabulary: Vocabulary) -> tuple[str, ...]:
        return vocabulary.templates or self.templates


def phrases_of(vocabulary: Vocabulary, asked: str) -> Phrases:
    """The phrases of each class; a synonym is a phrase of its own.

    Raises:
        UsageError: a class without concepts (its score is a constant) is to be asked for them.
    """
    if asked == "names":
        return tuple((name,) for name in vocabulary.names)
    if vocabulary.background is not None:
        raise UsageError(
            f"class '{vocabulary.names[0]}' has no concepts but a constant score, which SemiVL has no use for: "
            "give it concepts in the vocabulary, or ask for names"
        )
    return tuple(tuple(word for concept in own for word in split_synonyms(concept)) for own in vocabulary.concepts)


def embed_phrases(encoder: TextEncoder, phrases: Phrases, asked: str, templates: Sequence[str] = TEMPLATES) -> Tensor:
    """Vectors of length 1: (K, C), or for `concepts` (T, C) class by class.

    Of several templates, and for `mean` of a class's phrases, the mean is taken before the length becomes 1, as
    published.
    """
    flat = [template.replace("{}", phrase) for own in phrases for phrase in own for template in templates]
    rows = torch.unflatten(encoder.encode(flat), 0, (-1, len(templates))).mean(dim=1)
    if asked == "mean":
        rows = torch.stack([part.mean(dim=0) for part in torch.split(rows, [len(own) for own in phrases])])
    return F.normalize(rows, dim=-1)


def read_embeddings(path: str | Path, rows: int, dim: int, *, option: str, what: str) -> Tensor:
    """(rows, dim) float32 from a .npy file, as it stands there.

    option: who asks, for errors; what: of what there must be `rows`.

    Raises:
        WeightsError: not there, not an array of numbers, or of another vocabulary or text encoder.
    """
    file = Path(path).expanduser()

    def check(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or dtype.kind != "f":
            raise WeightsError(f"{option}: {file}: must be one array of numbers, ({rows}, {dim}); is it another file?")
        if shape != (rows, dim):
            cause = "it belongs to another vocabulary" if shape[0] != rows else "it belongs to another CLIP model"
            raise WeightsError(
                f"{option}: {file}: has {shape[0]} rows of {shape[1]} numbers, but there are {rows} {what} "
                f"and the model reads {dim}: {cause}"
            )

    try:
        array = read_array(file, "embeddings", check)
    except DataError:
        reason = "not a .npy file" if file.exists() else "no such file"
        raise WeightsError(f"{option}: {file}: {reason}; give the text embeddings, or null to compute them") from None
    if not np.isfinite(array).all() or not array.any(axis=1).all():
        raise WeightsError(f"{option}: {file}: holds rows that are zero or not finite; the file is damaged")
    return torch.from_numpy(array.astype(np.float32))


def check_asked(asked: str, known: Sequence[str], option: str) -> None:
    """Refuse a way to ask that is none of `known`.

    Raises:
        UsageError: it is not known.
    """
    if asked not in known:
        raise UsageError(f"{option}: '{asked}' is not known{did_you_mean(asked, known)}")


def _key(phrases: Phrases, templates: tuple[str, ...], file: str | None) -> int:
    """Tells one set of vectors from another by what they were made of; fits int64, and is never 0."""
    text = json.dumps([phrases, templates, file], ensure_ascii=False)
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16) + 1
