"""The interface of segmentation models: `encode` an image to feature maps, `decode` them to logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from semiovs.errors import UsageError
from semiovs.vocab.vocabulary import Vocabulary

Features = tuple[Tensor, ...]


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of images in [0, 1] that a model is trained with."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


class Neck(nn.Module):
    """What a method puts between encoder and decoder: map (B, C, h, w) -> map of the same shape. name: its row in
    `NECKS`.
    """

    name: ClassVar[str]


def check_num_classes(num_classes: int) -> None:
    """Refuse a segmenter without classes.

    Raises:
        UsageError: fewer than one.
    """
    if num_classes < 1:
        raise UsageError(f"a segmenter needs at least one class, not {num_classes}")


def refuse_context(segmenter: str, context: Mapping[str, Tensor]) -> None:
    """Refuse what `decode` is handed beside the feature maps, in a segmenter that reads nothing else.

    Raises:
        UsageError: there is something.
    """
    if context:
        raise UsageError(f"{segmenter} does not read {', '.join(sorted(context))}")


class Segmenter(nn.Module, ABC):
    """Encoder and decoder. `backbone` is the encoder; every other parameter belongs to the head (optimiser groups).

    normalization: what `encode` expects its images to be normalised with; channels: of the maps that `encode` gives,
    where they are known; norm: the kind of its normalisation layers (`norm_layer`), for heads that a method puts beside
    it; neck: what a method puts between the two, if anything: it makes the last map anew (AllSpark's bottleneck);
    prompted: names in the state that `prompt` fills, which no published checkpoint has; sees_rgb_alone: it cannot be
    built for other bands; fixed_grid: its encoder is a plain vision transformer, whose positions are worked out anew
    for each image size, so that it leaves torch for one size at a time.
    """

    prompted: ClassVar[tuple[str, ...]] = ()
    sees_rgb_alone: ClassVar[bool] = False

    backbone: nn.Module
    num_classes: int
    normalization: Normalization = Normalization()
    channels: tuple[int, ...] = ()
    norm: str = "batch"
    fixed_grid: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.neck: Neck | None = None

    @abstractmethod
    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> the feature maps that `decode` reads, in the order in which perturbations are drawn."""

    @abstractmethod
    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """Feature maps -> logits (B, K, H, W) at `size`, (H, W)."""

    def layers(self) -> tuple[list[nn.Parameter], ...]:
        """Parameters of the encoder by depth, from the image up; a single layer where it has no order that is known."""
        return (list(self.backbone.parameters()),)

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the class names before the first image; segmenters that do not read words ignore them."""

    def facts(self) -> dict[str, str]:
        """Facts for the model card beside the options; a loaded model must have the same."""
        return {}

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, K, H, W)."""
        features = self.encode(image)
        if self.neck is not None:
            features = (*features[:-1], self.neck(features[-1]))
        return self.decode(features, (image.shape[-2], image.shape[-1]))
