"""Score a segmenter on images with masks, at their native size."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semiovs.config.schema import EvalConfig
from semiovs.data.items import read_labeled
from semiovs.errors import DataError, about, require_memory
from semiovs.evaluation.confusion import ConfusionMatrix
from semiovs.evaluation.image_counts import ImageCounter, ImageCounts
from semiovs.evaluation.memory_fallback import ADVICE, MemoryFallback
from semiovs.images.conventions import IGNORE
from semiovs.images.masks import MaskReader
from semiovs.images.readers import RGB, BandImage, ImageReader, Picture
from semiovs.images.record import Record
from semiovs.models.segmenter import Normalization
from semiovs.models.tiling import VIEWING, covered, predict_strips
from semiovs.read_ahead import read_ahead

_Pair = tuple[Picture, Tensor]
#: Called after each image with how many are done and how many there are.
Progress = Callable[[int, int], None]
#: Images that are read ahead of the model.
_AHEAD = 4


class EvaluationStoppedError(Exception):
    """An evaluation that its caller asked to end before all images were scored; raised on every rank."""


@dataclass(frozen=True, eq=False)
class Example:
    """An image that was evaluated. truth, predicted: class ids (H, W) of its size, 255 where there are none."""

    record: Record
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]


@dataclass(frozen=True)
class Evaluation:
    """Scores in percent.

    miou: mean over all classes, an absent one counts 0, as published; miou_present: mean over those that occur in the
    masks; iou, class_accuracy: one value a class; present: whether the class occurs; pixels: how many were counted;
    in_windows: images that did not fit into memory as a whole and were predicted in windows; by_image: the counts of
    each image; examples: images that were asked for, of those that this rank evaluated.
    """

    miou: float
    miou_present: float
    iou: tuple[float, ...]
    class_accuracy: tuple[float, ...]
    present: tuple[bool, ...]
    pixel_accuracy: float
    images: int
    pixels: int
    seconds: float = 0.0
    in_windows: int = 0
    by_image: ImageCounts | None = field(default=None, repr=False, compare=False)
    examples: tuple[Example, ...] = field(default=(), repr=False, compare=False)

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
            **({"in_windows": self.in_windows} if self.in_windows else {}),
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
    stopping: Callable[[], bool] = lambda: False,
    shown: Collection[str] = (),
) -> Evaluation:
    """Predict each image at its own size, compare with its mask, and score all images together.

    model: (1, 3, H, W) -> logits (1, K, H, W), on `device`; its training mode is restored. images: reader of image
    files, as in training. settings: ``eval.*`` (the caller applies `max_images`); crop_size: side of windows if
    ``eval.window`` is null. autocast: context of each forward pass, fp32 by default. stopping: asked before each image
    whether to end without scores; shown: ids of images that become examples. An image too large for the memory is
    predicted in windows.

    Over several processes each takes every `world_size`-th image, none twice, and the counts are summed once: every
    rank returns the same scores.

    Raises:
        DataError: no images; an image or mask that cannot be read, of different sizes, or with values of no class.
        UsageError: settings that do not hold. ResourcesError: no way to fit an image into memory.
        EvaluationStoppedError: see `stopping`; on any rank.
    """
    if not records:
        raise DataError("no images to evaluate; set data.val to a list or folder with masks")
    start, mine = time.monotonic(), records[rank::world_size]
    counter = ImageCounter(matrix := ConfusionMatrix(masks.num_classes))
    through = {key: getattr(settings, key) for key in VIEWING} | {"window": settings.window or crop_size}
    scorer = _Scorer(model, masks, normalization, device, autocast, through, shown)
    with _evaluation_mode(model), closing(_pictures(mine, masks, images)) as pictures:
        batches = _group_by_size(pictures, settings.batch_size or 1)
        stopped = _count_all(scorer, counter, batches, mine, progress, stopping)
    any_stopped, in_windows = matrix.reduce(int(stopped), scorer.fallback.windowed)
    if any_stopped:
        raise EvaluationStoppedError
    found = _score(matrix, counter.collect([record.id for record in records], rank, world_size), scorer.examples)
    return replace(found, seconds=time.monotonic() - start, in_windows=in_windows)


def _count_all(
    scorer: _Scorer,
    counter: ImageCounter,
    batches: Iterable[Sequence[_Pair]],
    records: Sequence[Record],
    progress: Progress | None,
    stopping: Callable[[], bool],
) -> bool:
    """Count the images of `records`, which come in batches; returns whether it was stopped before the end."""
    done = 0
    if stopping():
        return True
    for batch in batches:
        scorer.count(counter, batch, records[done:])
        done += len(batch)
        if progress is not None:
            progress(done, len(records))
        if done < len(records) and stopping():
            return True
    return False


def normalize_image(image: Picture, normalization: Normalization, device: torch.device | str) -> Tensor:
    """Image -> (1, C, H, W) float32 on `device`: scaled to [0, 1] (RGB: / 255), minus mean, divided by std."""
    if isinstance(image, BandImage):
        scaled = torch.tensor(image.values, device=device)[None]
    else:
        pixels = _upload(torch.from_numpy(np.array(image)), device).permute(2, 0, 1)
        scaled = pixels[None].to(torch.float32).div_(255)
    mean, std = _moments(tuple(normalization.mean), tuple(normalization.std), device=scaled.device)
    return scaled.sub_(mean).div_(std)


@lru_cache(maxsize=8)
def _moments(*values: tuple[float, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Mean and deviation (1, C, 1, 1) each, put on the device once and not for every image."""
    return tuple(torch.tensor(v, device=device).view(1, -1, 1, 1) for v in values)


def _upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """To the device; to a GPU from pinned memory, so that nothing waits for the copy."""
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


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


def _pictures(
    records: Sequence[Record], masks: MaskReader, images: ImageReader
) -> Generator[tuple[Picture, Tensor], None, None]:
    """Images and masks in order, read by a thread while the model computes."""

    def read(record: Record) -> tuple[Picture, Tensor]:
        image, mask = read_labeled(record, masks, images)
        return image, torch.from_numpy(mask)

    return read_ahead(records, read, threads=1, least=_AHEAD)


def _group_by_size(pictures: Iterable[_Pair], most: int) -> Iterator[list[_Pair]]:
    """At most `most` pictures of one size at a time, in order."""
    batch: list[_Pair] = []
    for image, mask in pictures:
        if batch and (len(batch) == most or mask.shape != batch[0][1].shape):
            yield batch
            batch = []
        batch.append((image, mask))
    if batch:
        yield batch


@dataclass(frozen=True)
class _Scorer:
    """Counts images of one size. through: options of `predict_logits`; shown: ids of those that become `examples`."""

    model: nn.Module
    masks: MaskReader
    normalization: Normalization
    device: torch.device | str
    autocast: Callable[[], AbstractContextManager[object]]
    through: Mapping[str, Any]
    shown: Collection[str]
    examples: list[Example] = field(default_factory=list)

    @cached_property
    def fallback(self) -> MemoryFallback:
        return MemoryFallback(self.through, self.device)

    def count(self, counter: ImageCounter, batch: Sequence[_Pair], records: Sequence[Record]) -> None:
        images, (height, width), path = [image for image, _ in batch], batch[0][1].shape, records[0].image
        with self.autocast(), about(path), require_memory(str(path), ADVICE):
            labels = self.fallback.run((width, height), str(path), partial(self._find_labels, images))
        region = covered((height, width), mode=self.through["mode"], window=self.through["window"])
        masks = torch.stack([mask[region] for _, mask in batch])
        counter.update(labels, _upload(masks, self.device))
        for record, (_, mask), ids in zip(records, batch, labels, strict=False):
            if record.id in self.shown:
                predicted = np.full(mask.shape, IGNORE, np.uint8)
                predicted[region] = ids.cpu().numpy()
                self.examples.append(Example(record, mask.numpy().astype(np.uint8), predicted))

    def _find_labels(self, images: Sequence[Picture], through: dict[str, Any]) -> Tensor:
        """Class ids (B, h, w) uint8 of the region that is covered, on the device."""
        parts: list[Tensor] = []
        pixels = torch.cat([normalize_image(image, self.normalization, self.device) for image in images])
        for _, logits in predict_strips(self.model, pixels, **through):
            if logits.shape[1] != self.masks.num_classes:
                raise DataError(
                    f"the model knows {logits.shape[1]} classes, the masks have {self.masks.num_classes}; check "
                    "data.classes"
                )
            parts.append(logits.argmax(dim=1).to(torch.uint8))
        return torch.cat(parts, dim=1)


def _score(matrix: ConfusionMatrix, by_image: ImageCounts, examples: Sequence[Example]) -> Evaluation:
    if not matrix.pixels:
        raise DataError(f"all pixels of the {len(by_image.ids)} masks are ignored: there is nothing to score")
    return Evaluation(
        miou=matrix.miou(),
        miou_present=matrix.miou(present_only=True),
        iou=tuple(matrix.iou().tolist()),
        class_accuracy=tuple(matrix.class_accuracy().tolist()),
        present=tuple(matrix.present().tolist()),
        pixel_accuracy=matrix.pixel_accuracy(),
        images=len(by_image.ids),
        pixels=matrix.pixels,
        by_image=by_image,
        examples=tuple(examples),
    )
