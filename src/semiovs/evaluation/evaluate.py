"""Score a segmenter on images with masks, at their native size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from semiovs.config.schema import EvalConfig
from semiovs.data.items import read_labeled
from semiovs.errors import DataError, about, require_memory
from semiovs.evaluation.confusion import ConfusionMatrix
from semiovs.images.masks import MaskReader
from semiovs.images.readers import RGB, BandImage, ImageReader, Picture
from semiovs.images.record import Record
from semiovs.models.segmenter import Normalization
from semiovs.models.tiling import VIEWING, covered, predict_logits
from semiovs.read_ahead import read_ahead

#: Called after each image with how many are done and how many there are.
Progress = Callable[[int, int], None]
_SMALLER = "take eval.mode=sliding with a smaller eval.window, or a machine with more memory"
#: Images that are read ahead of the model.
_AHEAD = 4


@dataclass(frozen=True)
class Evaluation:
    """Scores in percent.

    miou: mean over all classes, an absent one counts 0, as published; miou_present: mean over those that occur in the
    masks; iou, class_accuracy: one value a class; present: whether the class occurs; pixels: how many were counted.
    """

    miou: float
    miou_present: float
    iou: tuple[float, ...]
    class_accuracy: tuple[float, ...]
    present: tuple[bool, ...]
    pixel_accuracy: float
    images: int
    pixels: int
    seconds: float

    def as_json(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Plain data; per-class values by name where `names` are given."""
        keys = list(names) if names is not None else [str(i) for i in range(len(self.iou))]
        return {
            "miou": self.miou,
            "miou_present": self.miou_present,
            "pixel_accuracy": self.pixel_accuracy,
            "iou": dict(zip(keys, self.iou, strict=True)),
            "class_accuracy": dict(zip(keys, self.class_accuracy, strict=True)),
            "absent": [key for key, present in zip(keys, self.present, strict=True) if not present],
            "images": self.images,
            "pixels": self.pixels,
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    model: nn.Module,
    records: Sequence[Record],
    *,
    masks: MaskReader,
    images: ImageReader = RGB,
    normalization: Normalization,
    settings: EvalConfig,
    crop_size: int | None = None,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    progress: Progress | None = None,
) -> Evaluation:
    """Predict each image at its own size, compare with its mask, and score all images together.

    model: (1, 3, H, W) -> logits (1, K, H, W), on `device`; its training mode is restored. images: reader of image
    files, as in training. settings: ``eval.*`` (the caller applies `max_images`); crop_size: side of windows if
    ``eval.window`` is null. autocast: context of each forward pass, fp32 by default.

    Over several processes each takes every `world_size`-th image, none twice, and the counts are summed once: every
    rank returns the same scores.

    Raises:
        DataError: no images; an image or mask that cannot be read, of different sizes, or with values that are no
        class. UsageError: settings that do not hold. ResourcesError: an image does not fit into memory.
    """
    if not records:
        raise DataError("no images to evaluate; set data.val to a list or folder with masks")
    start = time.monotonic()
    matrix = ConfusionMatrix(masks.num_classes)
    mode: dict[str, Any] = {"mode": settings.mode, "window": settings.window or crop_size}
    through = {**{key: getattr(settings, key) for key in VIEWING}, **mode}
    mine = records[rank::world_size]
    done = 0
    with _evaluation_mode(model):
        for batch in _group_by_size(_pictures(mine, masks, images), settings.batch_size):
            path, (height, width) = mine[done].image, batch[0][1].shape
            pixels = torch.cat([normalize_image(image, normalization, device) for image, _ in batch])
            with autocast(), about(path), require_memory(str(path), _SMALLER):
                logits = predict_logits(model, pixels, **through)
            _require_classes(logits, masks)
            rows, columns = covered((height, width), **mode)
            target = torch.stack([mask[rows, columns] for _, mask in batch]).to(device, non_blocking=True)
            matrix.update(logits.argmax(dim=1), target)
            done += len(batch)
            if progress is not None:
                progress(done, len(mine))
    matrix.reduce()
    if not matrix.pixels:
        raise DataError(f"all pixels of the {len(records)} masks are ignored: there is nothing to score")
    return _make_evaluation(matrix, len(records), time.monotonic() - start)


def normalize_image(image: Picture, normalization: Normalization, device: torch.device | str) -> Tensor:
    """Image -> (1, C, H, W) float32 on `device`: scaled to [0, 1] (RGB: / 255), minus mean, divided by std."""
    if isinstance(image, BandImage):
        scaled = torch.tensor(image.values, device=device)[None]
    else:
        scaled = pil_to_tensor(image)[None].to(device, non_blocking=True).to(torch.float32).div_(255)
    mean = torch.tensor(normalization.mean, device=scaled.device).view(1, -1, 1, 1)
    std = torch.tensor(normalization.std, device=scaled.device).view(1, -1, 1, 1)
    return scaled.sub_(mean).div_(std)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _pictures(records: Sequence[Record], masks: MaskReader, images: ImageReader) -> Iterator[tuple[Picture, Tensor]]:
    """Images and masks in order, read by a thread while the model computes."""

    def read(record: Record) -> tuple[Picture, Tensor]:
        image, mask = read_labeled(record, masks, images)
        return image, torch.from_numpy(mask)

    return read_ahead(records, read, threads=1, least=_AHEAD)


def _group_by_size(pictures: Iterable[tuple[Picture, Tensor]], most: int) -> Iterator[list[tuple[Picture, Tensor]]]:
    """At most `most` pictures of one size at a time, in order."""
    batch: list[tuple[Picture, Tensor]] = []
    for image, mask in pictures:
        if batch and (len(batch) == most or mask.shape != batch[0][1].shape):
            yield batch
            batch = []
        batch.append((image, mask))
    if batch:
        yield batch


def _require_classes(logits: Tensor, masks: MaskReader) -> None:
    if logits.shape[1] != masks.num_classes:
        raise DataError(
            f"the model knows {logits.shape[1]} classes, the masks have {masks.num_classes}; check data.classes"
        )


def _make_evaluation(matrix: ConfusionMatrix, images: int, seconds: float) -> Evaluation:
    return Evaluation(
        miou=matrix.miou(),
        miou_present=matrix.miou(present_only=True),
        iou=tuple(matrix.iou().tolist()),
        class_accuracy=tuple(matrix.class_accuracy().tolist()),
        present=tuple(matrix.present().tolist()),
        pixel_accuracy=matrix.pixel_accuracy(),
        images=images,
        pixels=matrix.pixels,
        seconds=seconds,
    )
