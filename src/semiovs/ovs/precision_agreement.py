"""Measure how many labels change by faster arithmetic: label a few images with a teacher and its exact version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from semiovs.errors import DataError
from semiovs.images.image import read_image
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.image_batches import ReadRgb
from semiovs.vocab.vocabulary import Vocabulary

#: Images that are labelled twice.
IMAGES = 8


@dataclass(frozen=True)
class LabelAgreement:
    """Pixels of `images` images, and how many of them got the same label from both teachers."""

    images: int
    pixels: int
    same: int

    @property
    def percent(self) -> float:
        """Share of equal labels, in percent of the pixels."""
        return 100 * self.same / self.pixels

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "percent": round(self.percent, 4)}


def measure_agreement(
    teacher: OpenVocabModel,
    exact: OpenVocabModel,
    records: Iterable[Record],
    vocabulary: Vocabulary,
    *,
    images: int = IMAGES,
    read: ReadRgb = read_image,
) -> LabelAgreement | None:
    """Label the first `images` records that can be read with both; None if there is none."""
    found = LabelAgreement(0, 0, 0)
    for record in islice(records, images):
        try:
            pixels = torch.from_numpy(np.array(read(record.image))).permute(2, 0, 1).contiguous()
        except DataError:  # the labelling job reports unreadable images
            continue
        own, other = (who.label([pixels], vocabulary, ids=[record.id])[0][0].cpu() for who in (teacher, exact))
        found = LabelAgreement(found.images + 1, found.pixels + own.numel(), found.same + int((own == other).sum()))
    return found if found.images else None
