"""Sliding windows, several scales and mirrored images for any teacher that answers with maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.models.tiling import average_windows
from semiovs.models.tta import mean_over_views, resize_image
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.ovs.mapped import MappedModel
from semiovs.ovs.pooling import ConceptPooling
from semiovs.vocab.vocabulary import Vocabulary

#: Pixels of the image a cell of the averaged maps: concepts x H x W would be too much to hold.
GRAIN = 4


@dataclass(frozen=True)
class ViewOptions:
    """The views of an image whose probabilities are averaged.

    tile: side of square windows, pixels; null: the whole image. stride: between windows; null: two thirds of `tile`.
    scales, flip: additional sizes, and mirrored images. Scales have no effect without `tile` on teachers that resize
    every image to a fixed size.

    Raises:
        UsageError: invalid values.
    """

    tile: int | None = None
    stride: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        scales: Any = self.scales
        if not isinstance(scales, list | tuple) or not scales or not all(map(_is_scale, scales)):
            raise UsageError(
                f"teacher option scales={self.scales}: a list of numbers between 0.1 and 10, like [0.75, 1, 1.25]"
            )
        object.__setattr__(self, "scales", tuple(float(scale) for scale in scales))
        if not isinstance(self.flip, bool):
            raise UsageError(f"teacher option flip={self.flip}: true or false")
        if self.tile is None:
            if self.stride is not None:
                raise UsageError("teacher option stride: only together with tile")
            return
        _require_side("tile", self.tile, 32, 8192)
        if self.stride is not None:
            _require_side("stride", self.stride, GRAIN, self.tile)

    @property
    def effective_stride(self) -> int:
        """Pixels from one window to the next."""
        if self.stride is not None:
            return self.stride
        return max(GRAIN, (self.tile or 0) * 2 // 3 // GRAIN * GRAIN)

    def list_changes(self) -> dict[str, Any]:
        """Options that are not at their defaults."""
        return {f.name: asdict(self)[f.name] for f in fields(self) if getattr(self, f.name) != f.default}


class MultiViewTeacher(MappedModel):
    """Averages the answers of `teacher` over `views`; windows are processed one at a time."""

    def __init__(self, teacher: MappedModel, views: ViewOptions) -> None:
        self.teacher, self.views, self.learns = teacher, views, teacher.learns
        self._cuts: WeakKeyDictionary[LabeledImage, list[LabeledImage]] = WeakKeyDictionary()

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The teacher's."""
        self.teacher.check_vocabulary(vocabulary)

    def pooling(self, vocabulary: Vocabulary) -> ConceptPooling:
        """The teacher's."""
        return self.teacher.pooling(vocabulary)

    def learn(self, labeled: Sequence[LabeledImage], vocabulary: Vocabulary) -> MultiViewTeacher:
        """The teacher after it has learnt from the images at each scale, cut into windows side by side."""
        if not self.learns:
            return self
        for image in labeled:
            if image not in self._cuts:
                self._cuts[image] = self._cut(image)
        learnt = self.teacher.learn([part for image in labeled for part in self._cuts[image]], vocabulary)
        return MultiViewTeacher(learnt, self.views) if isinstance(learnt, MappedModel) else self

    def describe(self) -> dict[str, Any]:
        """As the teacher, with the view options."""
        return {**self.teacher.describe(), **self.views.list_changes()}

    def exact(self) -> MultiViewTeacher | None:
        """The exact teacher with the same views."""
        inner = self.teacher.exact()
        return MultiViewTeacher(inner, self.views) if isinstance(inner, MappedModel) else None

    @torch.inference_mode()
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """Mean over the views, at the resolution of the teacher's answer (a quarter of the image's with `tile`)."""

        def once(view: Tensor) -> Tensor:
            return self._ask_tiles(view, vocabulary) if self.views.tile else self._ask_teacher(view, vocabulary)

        return [
            mean_over_views(once, image[None], scales=self.views.scales, flip=self.views.flip)[0] for image in images
        ]

    def _cut(self, image: LabeledImage) -> list[LabeledImage]:
        """Views of a labelled image to learn from; parts of one image are read together."""
        parts = []
        for scale in self.views.scales:
            height, width = _load_scaled(image, scale)[1].shape
            side = self.views.tile or max(height, width)
            for top, left in product(_starts(height, side), _starts(width, side)):
                where = (slice(top, top + side), slice(left, left + side))
                parts.append(replace(image, load=partial(_load_part, image, scale, where)))
        return parts

    def _ask_teacher(self, image: Tensor, vocabulary: Vocabulary) -> Tensor:
        return self.teacher.maps([image[0]], vocabulary)[0][None]

    def _ask_tiles(self, image: Tensor, vocabulary: Vocabulary) -> Tensor:
        def window(part: Tensor) -> Tensor:
            size = (part.shape[-2] // GRAIN, part.shape[-1] // GRAIN)
            return F.interpolate(
                self._ask_teacher(part, vocabulary), size, mode="bilinear", align_corners=False, antialias=True
            )

        assert self.views.tile is not None  # checked by the caller
        whole = [max(1, round(side / GRAIN)) * GRAIN for side in image.shape[-2:]]
        even = resize_image(image, (whole[0], whole[1]))
        return average_windows(window, even, window=self.views.tile, stride=self.views.effective_stride, grain=GRAIN)


@lru_cache(maxsize=1)
def _load_scaled(image: LabeledImage, scale: float) -> tuple[Tensor, Tensor]:
    """Image and mask of a labelled image at another size."""
    pixels, mask = image.load()
    if scale == 1:
        return pixels, mask
    size = (max(1, round(mask.shape[0] * scale)), max(1, round(mask.shape[1] * scale)))
    nearest = F.interpolate(mask[None, None], size, mode="nearest-exact")[0, 0]
    return resize_image(pixels[None], size)[0], nearest


def _load_part(image: LabeledImage, scale: float, where: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
    pixels, mask = _load_scaled(image, scale)
    return pixels[(..., *where)].contiguous(), mask[where].contiguous()


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin that cover a side without a gap; the last one ends with it."""
    return [*range(0, max(1, length - side), side), *([length - side] if length > side else [])]


def _require_side(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high or value % GRAIN:
        raise UsageError(f"teacher option {name}={value}: a multiple of {GRAIN} between {low} and {high} pixels")


def _is_scale(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.1 <= value <= 10
