"""Base class of teachers that answer with maps at a resolution of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from semiovs.errors import DataError
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.pooling import ConceptPooling
from semiovs.vocab.vocabulary import Vocabulary


class MappedModel(OpenVocabModel):
    """Answers with maps of probabilities at any resolution; from those, classes are pooled at full size.

    Windows, scales and mirrored images (`ViewOptions`) are possible for all of these.
    """

    @abstractmethod
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """Images, uint8 RGB (3, H, W) each -> maps (T, h, w) in [0, 1] each, at any resolution, over the whole image.

        Map t is one of class ``pooling(vocabulary).owners[t]``.
        """

    @abstractmethod
    def pooling(self, vocabulary: Vocabulary) -> ConceptPooling:
        """Which class each map belongs to."""

    def scores(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Class scores (K, H, W) in [0, 1]: the maximum over each class's maps."""
        require_images(images)
        pooling = self.pooling(vocabulary)
        pairs = zip(images, self.maps(images, vocabulary), strict=True)
        return [pooling.scores(maps, _image_size(image)) for image, maps in pairs]

    def label(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As the argmax of `scores`, without holding maps x H x W in memory."""
        require_images(images)
        pooling = self.pooling(vocabulary)
        pairs = zip(images, self.maps(images, vocabulary), strict=True)
        found = [pooling.label(maps, _image_size(image)) for image, maps in pairs]
        return [label for label, _ in found], [confidence for _, confidence in found]


def require_images(images: Sequence[Tensor]) -> None:
    """Raise DataError unless each is a uint8 RGB image (3, H, W) with at least one pixel."""
    for index, image in enumerate(images):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3 or not image.numel():
            kind = str(image.dtype).removeprefix("torch.")
            raise DataError(f"image {index}: {kind} tensor of shape {tuple(image.shape)}; must be uint8 RGB (3, H, W)")


def _image_size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]
