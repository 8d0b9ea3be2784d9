"""Batches by step: the batch of micro-step k is the same whatever was read before and by however many workers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from semiovs.data.batch import Batch, Labeled, OpenVocab, Unlabeled
from semiovs.data.collection import Collection
from semiovs.data.device_views import LOOK_NUMBERS
from semiovs.data.draws import ItemDraws, item_seed
from semiovs.data.items import Augment, read_labeled, read_ood, stack_items
from semiovs.data.rare_classes import RareClasses
from semiovs.data.sampler import PartnerSampler, StreamItem, StreamSampler
from semiovs.data.transforms import LookKind, draw_half_box
from semiovs.data.view_request import ViewRequest
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest


class StepStream(Dataset[Batch]):
    """`stream[k]`: batch of micro-step k of this rank, a pure function of (seed, k, rank, world_size).

    Images (but those of bands), masks and confidences are uint8 (see `normalize`); each stream cycles on its own.

    views: the streams and views that the method asks for; batch_size, unlabeled_batch_size, ood_batch_size: images per
    micro-step and rank (None: unlabelled as labelled, OOD as unlabelled); micro_steps_total: length; confidence:
    ``ones``, or that of the label source (``score``, ``calibrated``, ``soft``); pipeline: `data.pipeline`, for RGB
    images (bands have their own); fit: see `Geometry.draw`; look: see `StrongLook.draw`; augment: with ``device``
    strong views are left to `make_missing_views`; rare: see `RareClasses`.

    Raises:
        DataError: a stream that `views` asks for has no images, or too few to find CutMix partners.
    """

    def __init__(
        self,
        sources: Collection,
        views: ViewRequest,
        *,
        crop_size: int,
        batch_size: int,
        seed: int,
        micro_steps_total: int,
        scale: tuple[float, float] = (0.5, 2.0),
        unlabeled_batch_size: int | None = None,
        ood_batch_size: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        confidence: Literal["ones", "score", "calibrated", "soft"] = "ones",
        pipeline: Literal["reference", "fast"] = "reference",
        fit: tuple[int, int] | None = None,
        look: LookKind = "color",
        augment: Literal["workers", "device"] | None = None,
        rare: RareClasses | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}")
        self.sources = sources
        self.views = views
        bands = sources.images.bands
        self.augment = Augment(
            crop_size,
            scale,
            pipeline if bands is None else "bands",
            fit,
            look,
            bands,
            looks_only=augment == "device",
            rare=rare,
        )
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.micro_steps_total = micro_steps_total
        self.scores = confidence != "ones"
        bare = unlabeled_batch_size or batch_size
        self._labeled = self._make_sampler(sources.labeled, batch_size, "labeled")
        self._unlabeled: StreamSampler | None = None
        self._mixing: PartnerSampler | None = None
        self._ood: StreamSampler | None = None
        if views.unlabeled is not None:
            self._unlabeled = self._make_sampler(sources.unlabeled, bare, "unlabeled")
            if views.mixing:
                self._mixing = _make_partner_sampler(self._unlabeled)
        if views.ood is not None:
            self._ood = self._make_sampler(sources.ood, ood_batch_size or bare, "ood")

    def __len__(self) -> int:
        return self.micro_steps_total

    @property
    def _read(self) -> Callable[[Path], Any]:
        """Reads an image as the pipeline wants it."""
        images = self.sources.images
        return images.read_lazily if self.augment.pipeline == "fast" else images

    def count_bytes(self) -> int:
        """Bytes of one batch."""
        side = self.augment.crop_size
        image, plane = 3 * side**2, side**2
        if self.augment.bands is not None:
            image = 2 * self.augment.bands * side**2
        strong = 4 * LOOK_NUMBERS if self.augment.looks_only else image
        views, labeled, box = self.views, self._labeled.batch_size, 4 * 8
        total = labeled * (image + views.labeled * strong + plane)
        if self._unlabeled is not None and views.unlabeled is not None:
            streams = 1 if self._mixing is None else 2
            total += streams * self._unlabeled.batch_size * (image + plane + views.unlabeled * (strong + box))
        if self._ood is not None and views.ood is not None:
            total += self._ood.batch_size * (image + views.ood * strong + 3 * plane)
        return total

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.micro_steps_total:
            raise IndexError(f"micro-step {step} of {self.micro_steps_total}")
        at = (step, self.rank, self.world_size)
        unlabeled = mixing = ood = None
        labeled = stack_items(self._read_labeled_items(step))
        if self._unlabeled is not None:
            unlabeled = stack_items(
                [self._read_unlabeled_item(place, "unlabeled") for place in self._unlabeled.batch(*at)]
            )
            if self.views.box == "half":
                unlabeled = self._replace_boxes(unlabeled, step)
        if self._mixing is not None:
            mixing = stack_items([self._read_unlabeled_item(place, "mixing") for place in self._mixing.batch(*at)])
        if self._ood is not None:
            ood = stack_items([self._read_ood_item(place) for place in self._ood.batch(*at)])
        return Batch(labeled, unlabeled, mixing, ood)

    def _read_labeled_items(self, step: int) -> list[Labeled]:
        places = self._labeled.batch(step, self.rank, self.world_size)
        items, rare = [self._read_labeled_item(place) for place in places], self.augment.rare
        if rare is None or not rare.paste:
            return items
        return rare.paste_regions(items, ItemDraws(item_seed(self.seed, "copy-paste", step, self.rank)))

    def _read_labeled_item(self, place: StreamItem) -> Labeled:
        image, mask = read_labeled(self.sources.labeled[place.item], self.sources.masks, self._read)
        return self.augment.labeled(image, mask, self.views.labeled, self._make_draws("labeled", place))

    def _read_unlabeled_item(self, place: StreamItem, stream: str) -> Unlabeled:
        assert self.sources.unlabeled is not None
        assert self.views.unlabeled is not None
        image = self._read(self.sources.unlabeled[place.item].image)
        return self.augment.unlabeled(image, self.views.unlabeled, self._make_draws(stream, place))

    def _replace_boxes(self, unlabeled: Unlabeled, step: int) -> Unlabeled:
        """Replace the boxes: in half of the batches each image has one of half the area, in the others none."""
        draws, count = ItemDraws(item_seed(self.seed, "box", step, self.rank)), len(unlabeled.weak)
        cut = draws.chance() < 0.5
        boxes = [
            torch.tensor([draw_half_box(self.augment.crop_size, draws) if cut else (0, 0, 0, 0) for _ in range(count)])
            for _ in unlabeled.boxes
        ]
        return replace(unlabeled, boxes=tuple(boxes))

    def _read_ood_item(self, place: StreamItem) -> OpenVocab:
        assert self.sources.ood is not None
        assert self.views.ood is not None
        record = self.sources.ood[place.item]
        image, label, confidence = read_ood(record, self.sources.ood_labels, scores=self.scores, read=self._read)
        return self.augment.ood(image, label, confidence, self.views.ood, self._make_draws("ood", place))

    def _make_draws(self, stream: str, place: StreamItem) -> ItemDraws:
        return ItemDraws(item_seed(self.seed, stream, place.epoch, place.item))

    def _make_sampler(self, manifest: Manifest | None, batch_size: int, name: str) -> StreamSampler:
        if not manifest:
            raise DataError(f"the method needs {_WANTED[name]}, and there are none")
        return StreamSampler(len(manifest), batch_size, self.seed, name)


_WANTED = {
    "labeled": "labelled images (data.labeled, or images/ with masks/)",
    "unlabeled": "unlabelled images (data.unlabeled, or unlabeled/)",
    "ood": "out-of-distribution images (ood.images)",
}


def _make_partner_sampler(unlabeled: StreamSampler) -> PartnerSampler:
    if unlabeled.length < 2:
        raise DataError("the method pastes between different unlabelled images, and there is only one; add more images")
    sampler = StreamSampler(unlabeled.length, unlabeled.batch_size, unlabeled.seed, "mixing")
    return PartnerSampler(sampler, unlabeled)


def steps_per_epoch(
    sources: Collection,
    views: ViewRequest,
    *,
    batch_size: int,
    unlabeled_batch_size: int | None = None,
    world_size: int = 1,
    accumulate: int = 1,
) -> int:
    """Optimiser steps of one pass over the unlabelled images (labelled ones if the method reads no others), at
    least 1.
    """
    if views.unlabeled is None:
        images, size = len(sources.labeled), batch_size
    else:
        images, size = len(sources.unlabeled or ()), unlabeled_batch_size or batch_size
    return max(1, images // (size * world_size * accumulate))


def batch_digest(batch: Batch) -> str:
    """SHA-256 over all tensors of a batch, with their names, types and shapes (16 hex digits)."""
    digest = hashlib.sha256()
    _update_digest(digest, "batch", batch)
    return digest.hexdigest()[:16]


def _update_digest(digest: Any, name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            _update_digest(digest, f"{name}.{index}", item)
    elif is_dataclass(value):
        for entry in fields(value):
            _update_digest(digest, f"{name}.{entry.name}", getattr(value, entry.name))
