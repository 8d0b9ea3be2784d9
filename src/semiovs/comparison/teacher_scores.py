"""The arm without a training: what the teacher alone says of the evaluation images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from semiovs.data.collection import Collection
from semiovs.errors import DataError
from semiovs.evaluation import ConfusionMatrix, ImageCounts
from semiovs.evaluation.image_counts import ImageCounter
from semiovs.images.manifest import Manifest
from semiovs.ovs import OpenVocabModel
from semiovs.ovs.label import label_images
from semiovs.store import PseudoLabelStore

FOLDER, FACTS = "teacher", "counts.npz"


def score_teacher(
    root: Path,
    teacher: OpenVocabModel,
    identity: dict[str, Any],
    images: Collection,
    evaluated: Manifest,
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> ImageCounts:
    """Label the evaluation images into the store ``teacher/`` of a comparison, and count each; what is there already is
    not made again.

    Pixels that the teacher leaves open (ignore) count as wrong: a student says something there too.

    Raises:
        DataError: an image that cannot be read, or a store of another teacher.
    """
    vocabulary = images.vocabulary
    store = PseudoLabelStore.create(root / FOLDER, vocabulary, teacher=identity)
    read = images.images.read_rgb
    label_images(teacher, evaluated, vocabulary, store, batch_size=batch_size, progress=progress, read=read)
    counter = ImageCounter(ConfusionMatrix(len(vocabulary)))
    for record in evaluated:
        if record.mask is None:
            raise DataError(f"{record.image}: an evaluation image needs a mask")
        label, mask = torch.from_numpy(store.label(record.id).copy()), torch.from_numpy(images.masks(record.mask))
        counter.update(label[None], mask[None])
    found = counter.collect([record.id for record in evaluated])
    found.write(root / FOLDER / FACTS)
    return found


def read_teacher_scores(root: Path) -> ImageCounts | None:
    """What `score_teacher` found; None if it was not run."""
    path = root / FOLDER / FACTS
    return ImageCounts.read(path) if path.is_file() else None
