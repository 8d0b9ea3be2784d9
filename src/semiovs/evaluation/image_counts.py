"""Confusion matrices of images one by one: what intervals, comparisons and lists of the worst images are made of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from semiovs.array_files import read_array
from semiovs.errors import DataError
from semiovs.evaluation.confusion import ConfusionMatrix
from semiovs.files import write_bytes

Ints = NDArray[np.int64]

#: Numbers that wait on the device until they are made sparse: one synchronisation for many images.
_WAITING = 1 << 22


@dataclass(frozen=True)
class ImageCounts:
    """Pixels of (image, target class, predicted class), without zeros; a prediction of no class is column K.

    ids: of the N images, in their order; num_classes: K; entries: (M, 4) image, target, prediction, pixels.
    """

    ids: tuple[str, ...]
    num_classes: int
    entries: Ints

    def matrices(self) -> Ints:
        """(N, K, K + 1) pixels: row = target class, column = predicted class, the last one none of them."""
        dense = np.zeros((len(self.ids), self.num_classes, self.num_classes + 1), np.int64)
        image, target, predicted, pixels = self.entries.T
        dense[image, target, predicted] = pixels
        return dense

    def areas(self) -> tuple[Ints, Ints, Ints]:
        """Target, predicted and common pixels, each (N, K)."""
        shape = len(self.ids), self.num_classes
        target, predicted, hit = (np.zeros(shape, np.int64) for _ in range(3))
        image, row, column, pixels = self.entries.T
        np.add.at(target, (image, row), pixels)
        inside, right = column < self.num_classes, row == column
        np.add.at(predicted, (image[inside], column[inside]), pixels[inside])
        np.add.at(hit, (image[right], row[right]), pixels[right])
        return target, predicted, hit

    def write(self, path: Path) -> None:
        """Write an ``.npz`` file, atomically; equal counts give equal bytes."""
        out = io.BytesIO()
        np.savez_compressed(
            out, ids=np.array(self.ids, dtype=np.str_), num_classes=np.int64(self.num_classes), entries=self.entries
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, out.getvalue())

    @classmethod
    def read(cls, path: Path) -> ImageCounts:
        """Read what `write` wrote.

        Raises:
            DataError: cannot be read, or holds something else.
        """

        def expect(kind: str, *shape: int | None) -> Any:
            def check(dtype: np.dtype[Any], found: tuple[int, ...]) -> None:
                fits = len(found) == len(shape) and all(w in (None, f) for w, f in zip(shape, found, strict=True))
                if dtype.kind != kind or not fits:
                    raise DataError(f"{path}: holds no counts of images ({dtype}, {found}); run semiovs evaluate again")

            return check

        ids = read_array(path, "ids", expect("U", None))
        classes = int(read_array(path, "num_classes", expect("i")))
        entries = read_array(path, "entries", expect("i", None, 4)).astype(np.int64)
        most = np.array([len(ids), classes, classes + 1, np.iinfo(np.int64).max])
        if (entries < 0).any() or (entries >= most).any():
            raise DataError(f"{path}: counts of images or classes that do not exist; run semiovs evaluate again")
        return cls(tuple(map(str, ids)), classes, entries)


class ImageCounter:
    """Adds images to a confusion matrix, and keeps the counts of each."""

    def __init__(self, matrix: ConfusionMatrix) -> None:
        self._matrix = matrix
        self._waiting: list[Tensor] = []
        self._found: list[Ints] = []
        self._images = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count images: integer class ids (B, H, W) each; nothing is read back from an accelerator at once.

        Raises:
            DataError: the shapes differ.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            self._waiting.append(self._matrix.update(prediction, target))
        if sum(table.numel() for table in self._waiting) > _WAITING:
            self._make_sparse()

    def collect(self, ids: Sequence[str], rank: int = 0, world_size: int = 1) -> ImageCounts:
        """Counts of all images, of all ranks, each of which counted every `world_size`-th one; a collective."""
        self._make_sparse()
        mine = np.concatenate([*self._found, np.zeros((0, 4), np.int64)])
        mine[:, 0] = rank + mine[:, 0] * world_size
        parts = [mine]
        if dist.is_available() and dist.is_initialized():
            parts = parts * dist.get_world_size()
            dist.all_gather_object(parts, mine)
        together = np.concatenate(parts)
        order = np.lexsort(together[:, 2::-1].T)
        return ImageCounts(tuple(ids), self._matrix.num_classes, together[order])

    def _make_sparse(self) -> None:
        if not self._waiting:
            return
        classes = self._matrix.num_classes
        tables = torch.stack(self._waiting).cpu().numpy().reshape(len(self._waiting), classes + 2, classes + 1)
        image, target, predicted = tables[:, :classes].nonzero()
        self._found.append(np.stack([image + self._images, target, predicted, tables[image, target, predicted]], 1))
        self._images += len(self._waiting)
        self._waiting = []
