"""Pictures that loggers get: evaluation images with prediction and truth, OOD images with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.config.schema import Config
from semiovs.data.collection import Collection
from semiovs.data.items import read_ood
from semiovs.data.label_source import LabelSource, ShuffledLabels
from semiovs.errors import SemiovsError
from semiovs.images.overlay import Colors, overlay, resize_photo, shrink_labels

#: Long side of each of the two images of a picture, pixels, and what lies between them.
SIDE, _GAP = 256, 4

T = TypeVar("T")


def draw_pair(
    picture: Image.Image, left: NDArray[np.uint8] | None, right: NDArray[np.uint8], colors: Colors
) -> Image.Image:
    """An image twice, small, beside each other: with one labelling (H, W) and with another; None: without any."""
    small = resize_photo(picture, SIDE)
    sheet = Image.new("RGB", (2 * small.width + _GAP, small.height), "white")
    for place, labels in enumerate((left, right)):
        shown = small if labels is None else overlay(small, shrink_labels(labels, small.size), colors=colors)
        sheet.paste(shown, (place * (small.width + _GAP), 0))
    return sheet


def draw_ood_images(images: Collection, config: Config, most: int) -> Iterator[tuple[str, Image.Image]]:
    """Ids of at most so many OOD images, evenly spread, with the image beside its labels as they are learnt.

    None where the student labels the images itself; an image that cannot be read is left out, as the data check tells
    it.
    """
    labels = find_learnt_labels(images, config)
    for record in spread(images.ood or (), most) if labels is not None else ():
        try:
            picture, label, _ = read_ood(record, labels, scores=False, read=images.images.read_preview)
        except SemiovsError:
            continue
        yield record.id, draw_pair(picture, None, label, images.vocabulary.colors)


def find_learnt_labels(images: Collection, config: Config) -> LabelSource | None:
    """The labels of the OOD images that a training learns; None where the student labels them itself."""
    mode = "ovs" if config.ood is None else config.ood.mode
    if images.ood is None or images.ood_labels is None or mode == "naive":
        return None
    if mode == "placebo":
        return ShuffledLabels(images.ood_labels, [record.id for record in images.ood], config.train.seed)
    return images.ood_labels


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, at even distances."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]
