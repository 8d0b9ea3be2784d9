"""A teacher that answers from a pseudo-label store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semiovs.errors import DataError, UsageError
from semiovs.images.record import index_by_last_part, last_part
from semiovs.object_store import find_url
from semiovs.ovs.base import OpenVocabModel
from semiovs.store import PseudoLabelStore
from semiovs.vocab.vocabulary import Vocabulary


class StoredTeacher(OpenVocabModel):
    """Answers with the labels and confidences of a store; images are found by id, else by its last part.

    Raises:
        DataError: no store, or of other classes than `vocabulary`.
    """

    reads_ids = True

    def __init__(self, root: Path, vocabulary: Vocabulary) -> None:
        self.store = PseudoLabelStore.open(root, vocabulary)

    def describe(self) -> dict[str, Any]:
        """The store, and the teacher that filled it."""
        return {"store": find_url(self.store.root) or str(self.store.root.absolute()), "teacher": self.store.teacher}

    def version(self, identifier: str) -> str:
        """The image's line of the index, with the checksums of its files."""
        try:
            return (self.store.line(self._find_id(identifier)) or b"").decode(errors="replace")
        except DataError:
            return ""

    def scores(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> list[Tensor]:
        """The confidence for the class of each pixel, 0 for all others."""
        found = []
        for label, confidence in zip(*self.label(images, vocabulary, ids=ids), strict=True):
            found.append((label[None] == torch.arange(len(vocabulary))[:, None, None]) * confidence)
        return found

    def label(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels and confidences as stored; the images themselves are not used.

        Raises:
            DataError: an image that the store does not hold, or a damaged file.
        """
        if ids is None:
            raise UsageError("a store is asked by image id: pass `ids`, one an image")
        labels, confidences = [], []
        for name in map(self._find_id, ids):
            label = torch.from_numpy(self.store.label(name).copy())
            graded = self.store.confidence(name)
            labels.append(label)
            confidences.append(torch.ones(label.shape) if graded is None else torch.from_numpy(graded / 255).float())
        return labels, confidences

    def _find_id(self, identifier: str) -> str:
        if identifier in self.store:
            return identifier
        name = self._ids_by_last_part.get(last_part(identifier))
        if name is None:
            raise DataError(f"{self.store.root}: no label for image '{identifier}'")
        return name

    @cached_property
    def _ids_by_last_part(self) -> dict[str, str]:
        return index_by_last_part(self.store)
