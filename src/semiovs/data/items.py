"""One item of each stream: read, augment, uint8 tensors. Batches are stacks of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiovs.data import bands, fast, reference
from semiovs.data.batch import Labeled, OpenVocab, Unlabeled
from semiovs.data.device_views import encode_look
from semiovs.data.draws import ItemDraws
from semiovs.data.label_source import LabelSource
from semiovs.data.rare_classes import RareClasses
from semiovs.data.transforms import Geometry, LookKind, Pipeline, StrongLook, draw_cutmix_box
from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.image import read_image
from semiovs.images.masks import MaskReader
from semiovs.images.readers import Picture
from semiovs.images.record import Record

P = TypeVar("P", Labeled, Unlabeled, OpenVocab)

#: How the draws are carried out: `data.pipeline`, or `bands` for pictures that are not RGB.
PIPELINES: Mapping[str, Pipeline[Any, Any]] = {"reference": reference, "fast": fast, "bands": bands}


@dataclass(frozen=True)
class Augment:
    """Draws square crops of side `crop_size` and their strong views, and makes tensors of them.

    scale: range of the resize factor; fit: see `Geometry.draw`; pipeline: a key of `PIPELINES`; look, bands: see
    `StrongLook.draw`; looks_only: instead of strong views, rows of which `semiovs.data.make_missing_views` makes them;
    rare: chooses the window of labelled images.

    The methods take an image as read and return parts without batch dimension: images uint8 (3, S, S), bands uint16
    (C, S, S), masks and confidences uint8 (S, S). `semiovs.data.normalize` makes a method's input of a batch of them.
    """

    crop_size: int
    scale: tuple[float, float] = (0.5, 2.0)
    pipeline: str = "reference"
    fit: tuple[int, int] | None = None
    look: LookKind = "color"
    bands: int | None = None
    looks_only: bool = False
    rare: RareClasses | None = None

    def labeled(self, image: Picture, mask: NDArray[np.uint8], views: int, draws: ItemDraws) -> Labeled:
        """Crop a labelled image. mask: (H, W); views: number of strong views of the same crop, without boxes."""
        make, geometry = self._draw_geometry(image, draws)
        if self.rare is not None:
            geometry = self.rare.choose_window(mask, geometry, draws)
        crop = make.crop(image, geometry)
        pixels = torch.from_numpy(make.crop_labels(mask, geometry, IGNORE))
        strong = tuple(self._make_strong(crop, draws) for _ in range(views))
        return Labeled(make.to_tensor(crop), pixels, strong)

    def unlabeled(self, image: Picture, views: int, draws: ItemDraws) -> Unlabeled:
        """Crop an unlabelled image. views: number of strong views, each with a CutMix box."""
        make, geometry = self._draw_geometry(image, draws)
        crop = make.crop(image, geometry)
        strong, boxes = self._make_strong_views(crop, views, draws)
        return Unlabeled(make.to_tensor(crop), strong, torch.from_numpy(geometry.valid()), boxes)

    def ood(
        self,
        image: Picture,
        label: NDArray[np.uint8],
        confidence: NDArray[np.uint8] | None,
        views: int,
        draws: ItemDraws,
    ) -> OpenVocab:
        """Crop an OOD image with its label and confidence (H, W); pixels labelled 255 become 0 and are not valid.

        Boxes are drawn, so that the random numbers are those of an unlabelled image, and not used.
        """
        make, geometry = self._draw_geometry(image, draws)
        crop = make.crop(image, geometry)
        labels = make.crop_labels(label, geometry, IGNORE)
        valid = labels != IGNORE
        scores = np.full_like(labels, 255) if confidence is None else make.crop_labels(confidence, geometry, 255)
        strong, _ = self._make_strong_views(crop, views, draws)
        return OpenVocab(
            make.to_tensor(crop),
            strong,
            torch.from_numpy(labels * valid),
            torch.from_numpy(scores),
            torch.from_numpy(valid),
        )

    def _make_strong(self, crop: Any, draws: ItemDraws) -> Tensor:
        look, make = StrongLook.draw(draws, self.look, self.bands), PIPELINES[self.pipeline]
        return encode_look(look) if self.looks_only else make.to_tensor(make.make_strong(crop, look))

    def _draw_geometry(self, image: Picture, draws: ItemDraws) -> tuple[Pipeline[Any, Any], Geometry]:
        geometry = Geometry.draw(image.size, self.crop_size, self.scale, draws, fit=self.fit)
        return PIPELINES[self.pipeline], geometry

    def _make_strong_views(
        self, crop: Any, views: int, draws: ItemDraws
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        made, boxes = [], []
        for _ in range(views):
            made.append(self._make_strong(crop, draws))
            boxes.append(torch.from_numpy(np.array(draw_cutmix_box(self.crop_size, draws))))
        return tuple(made), tuple(boxes)


def read_labeled(
    record: Record, masks: MaskReader, read: Callable[[Path], Any] = read_image
) -> tuple[Any, NDArray[np.uint8]]:
    """Image (a `Picture`, by `read` of `Collection.images`) and mask of a record.

    Raises:
        DataError: unreadable, or of different sizes.
    """
    if record.mask is None:
        raise DataError(f"{record.image}: has no mask in its list")
    image, mask = read(record.image), masks(record.mask)
    _require_same_size(record, image, mask, str(record.mask))
    return image, mask


def read_ood(
    record: Record, labels: LabelSource | None, *, scores: bool, read: Callable[[Path], Any] = read_image
) -> tuple[Any, NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Image, label and (if `scores`) confidence of an OOD record; without `crop_labels` every pixel is valid with label
    0.

    Raises:
        DataError: unreadable, no label, or of different sizes.
    """
    image = read(record.image)
    if labels is None:
        return image, np.zeros((image.height, image.width), np.uint8), None
    if record.id not in labels:
        raise DataError(
            f"{record.image}: no label for id '{record.id}' in ood.labels; label it (`semiovs label`) or leave it out "
            "(ood.mode=naive needs no labels: ood.labels=null)"
        )
    label = labels.label(record.id)
    confidence = labels.confidence(record.id) if scores else None
    for array in (label, confidence):
        if array is not None:
            _require_same_size(record, image, array, f"its OOD label '{record.id}'")
    return image, label, confidence


def _require_same_size(record: Record, image: Picture, array: NDArray[np.uint8], what: str) -> None:
    if (image.height, image.width) != array.shape:
        height, width = array.shape
        raise DataError(f"{record.image}: is {image.width}x{image.height} pixels but {what} is {width}x{height}")


def stack_items(items: Sequence[P]) -> P:
    """Items -> one part with a batch dimension."""
    return type(items[0])(
        **{f.name: _stack_values([getattr(item, f.name) for item in items]) for f in fields(items[0])}
    )


def _stack_values(values: list[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(torch.stack(column) for column in zip(*values, strict=True))
    return torch.stack(values)
