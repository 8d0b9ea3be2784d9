"""Base class of teachers: open-vocabulary segmenters and other sources of class scores or labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from semiovs.ovs.labeled_image import LabeledImage
from semiovs.vocab.vocabulary import Vocabulary


class OpenVocabModel(ABC):
    """Class scores for images of any size, already aggregated over each class's concepts.

    reads_ids: whether the teacher looks up its answers by image id and requires `ids`. device: where it computes whole
    batches at once; None: on the CPU, or one image after the other. learns: whether it answers only after `learn`.
    """

    reads_ids: bool = False
    learns: bool = False
    device: torch.device | None = None

    @abstractmethod
    def scores(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Images, uint8 RGB (3, H, W) each -> scores (K, H, W) in [0, 1], each at its image's size."""

    def label(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Images -> labels (H, W) uint8, 255 = no answer, and confidences (H, W) float in [0, 1], at full size.

        By default the class with the highest score, and that score.
        """
        labels, confidences = [], []
        for score in self.scores(images, vocabulary, ids=ids):
            confidence, label = score.max(dim=0)
            labels.append(label.to(torch.uint8))
            confidences.append(confidence.float())
        return labels, confidences

    def learn(self, labeled: Sequence[LabeledImage], vocabulary: Vocabulary) -> OpenVocabModel:
        """The teacher after it has learnt from labelled images; this one stays as it is, to learn from others.

        By default there is nothing to learn.

        Raises:
            DataError: they cannot be read, or there is nothing in them to learn from.
        """
        del labeled, vocabulary
        return self

    def look_ahead(self, image: Tensor) -> int:
        """Do what needs no network for an image, uint8 RGB (3, H, W); returns the bytes that are kept for it.

        Called by the threads that read images, several at a time, with the very tensor that is asked about later; what
        is kept goes with the tensor. By default nothing is to be done.
        """
        del image
        return 0

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:  # noqa: B027 (most take any)
        """Refuse classes that the teacher cannot be asked for; called before a job begins.

        Raises:
            ConfigError: it cannot look for them.
        """

    def describe(self) -> dict[str, Any]:
        """Plain data that identifies the teacher (options, weights hash); recorded in the stores that it fills."""
        return {}

    def version(self, identifier: str) -> str:
        """Text that changes with the stored answer for this image; "" if answers depend on the pixels alone."""
        return ""

    def exact(self) -> OpenVocabModel | None:
        """The same teacher in exact arithmetic (fp32, no early rejection); None if it is exact already."""
        return None
