"""Confusion matrix, with IoU, mIoU and accuracies in percent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE

Labels = Tensor | NDArray[Any]


class ConfusionMatrix:
    """Pixel counts of (target class, predicted class) over a set of images.

    Exact: int64 counts; pixels whose target is `ignore` do not count; a prediction outside 0..K-1 counts against its
    target class but for no class (`overflow`), never for class K-1; a target outside {0..K-1, ignore} raises when
    results are read.

    `update` never synchronises with an accelerator: no boolean index, no value read back.
    """

    def __init__(self, num_classes: int, ignore: int = IGNORE) -> None:
        if num_classes < 1 or 0 <= ignore < num_classes:
            raise ValueError(f"{num_classes} classes with ignore value {ignore}: the two must not overlap")
        self.num_classes = num_classes
        self.ignore = ignore
        # Rows: K classes, ignored, outside. Columns: K classes, outside.
        self._counts = torch.zeros((num_classes + 2) * (num_classes + 1), dtype=torch.int64)
        values = torch.arange(256)
        self._bytes = (
            (self._row_indices(values) * (num_classes + 1)).numpy().astype(np.uint32),
            self._column_indices(values).numpy().astype(np.uint32),
        )

    def update(self, prediction: Labels, target: Labels) -> Tensor:
        """Count one or more images: integer class ids of one shape, tensors or arrays.

        Returns the counts that were added, (K + 2) x (K + 1) in one row: target classes, ignored, outside; predicted
        classes, outside.

        Raises:
            DataError: the shapes differ.
        """
        prediction, target = _to_tensor(prediction), _to_tensor(target)
        if prediction.shape != target.shape:
            raise DataError(
                f"prediction is {_format_shape(prediction)} but its mask is {_format_shape(target)}; "
                "masks must have their image's size"
            )
        if prediction.is_cpu and target.is_cpu and prediction.dtype == target.dtype == torch.uint8:
            new = self._count_bytes(prediction, target)
        else:
            device = target.device if target.device.type != "cpu" else prediction.device
            new = self._count(prediction.to(device), target.to(device, non_blocking=True))
        self._counts = self._counts.to(new.device, non_blocking=True) + new
        return new

    def reduce(self, *further: int) -> list[int]:
        """Sum the counts of all ranks, in place: one collective, called once, after the last `update` of every rank.

        further: numbers of this rank; returns their sums.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return [*further]
        if dist.get_backend() == "nccl":  # a rank without images still has its counts on the CPU
            self._counts = self._counts.cuda()
        counts = len(self._counts)
        together = torch.cat([self._counts, self._counts.new_tensor(further)])
        dist.all_reduce(together)
        self._counts = together[:counts]
        return [int(number) for number in together[counts:]]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K, K) pixels: row = target class, column = predicted class."""
        return self._read_table()[: self.num_classes, : self.num_classes]

    @property
    def overflow(self) -> NDArray[np.int64]:
        """(K,) pixels of each target class whose prediction is outside 0..K-1."""
        return self._read_table()[: self.num_classes, self.num_classes]

    @property
    def pixels(self) -> int:
        """Pixels that count: all but the ignored ones."""
        return int(self._read_table()[: self.num_classes].sum())

    def check(self) -> None:
        """Raise DataError if a target was neither a class nor the ignore value."""
        self._read_table()

    def present(self) -> NDArray[np.bool_]:
        """(K,) whether the class occurs in the targets."""
        return self._count_areas()[0] > 0

    def iou(self) -> NDArray[np.float64]:
        """(K,) intersection over union in percent; 0 for a class that neither occurs nor is predicted."""
        target, predicted, hit = self._count_areas()
        return 100.0 * hit / (target + predicted - hit + 1e-10)

    def miou(self, present_only: bool = False) -> float:
        """Mean IoU in percent, over all K classes (absent ones count 0, as published) or over those in the targets."""
        iou = self.iou()[self.present()] if present_only else self.iou()
        return float(iou.mean()) if iou.size else 0.0

    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right, in percent."""
        return 100.0 * float(self._count_areas()[2].sum()) / max(self.pixels, 1)

    def class_accuracy(self) -> NDArray[np.float64]:
        """(K,) share of each class's pixels that are right (recall), in percent; 0 for an absent class."""
        target, _, hit = self._count_areas()
        return 100.0 * hit / np.maximum(target, 1)

    def _count_areas(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Target, predicted and common pixels of each class."""
        rows = self._read_table()[: self.num_classes]
        return rows.sum(1), rows[:, : self.num_classes].sum(0), np.diagonal(rows).copy()

    def _read_table(self) -> NDArray[np.int64]:
        table: NDArray[np.int64] = self._counts.cpu().numpy().reshape(self.num_classes + 2, self.num_classes + 1)
        outside = int(table[-1].sum())
        if outside:
            raise DataError(
                f"{outside} mask pixels are neither a class (0..{self.num_classes - 1}) nor ignore ({self.ignore}); "
                "check the class list or map them with data.masks.map"
            )
        return table

    def _row_indices(self, target: Tensor) -> Tensor:
        row = torch.where(target == self.ignore, self.num_classes, self.num_classes + 1)
        return torch.where((target >= 0) & (target < self.num_classes), target.long(), row)

    def _column_indices(self, prediction: Tensor) -> Tensor:
        inside = (prediction >= 0) & (prediction < self.num_classes)
        return torch.where(inside, prediction.long(), self.num_classes)

    def _count(self, prediction: Tensor, target: Tensor) -> Tensor:
        index = (self._row_indices(target) * (self.num_classes + 1) + self._column_indices(prediction)).flatten()
        # `bincount` would read its maximum back from the device.
        counts = torch.zeros(self._counts.numel(), dtype=torch.int64, device=index.device)
        return counts.scatter_add_(0, index, torch.ones_like(index))

    def _count_bytes(self, prediction: Tensor, target: Tensor) -> Tensor:
        row, column = self._bytes
        index = row[target.numpy().ravel()] + column[prediction.numpy().ravel()]
        return torch.from_numpy(np.bincount(index, minlength=self._counts.numel()))


def _to_tensor(labels: Labels) -> Tensor:
    if isinstance(labels, Tensor):
        return labels
    wanted = np.uint8 if labels.dtype == np.uint8 else np.int64
    return torch.from_numpy(np.require(labels, wanted, ["C", "W"]))


def _format_shape(labels: Tensor) -> str:
    return "x".join(str(side) for side in labels.shape) or "a single value"
