"""Pictures on the page of a run: examples with their errors, and OOD images with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.config.schema import Config
from semiovs.data.collection import Collection
from semiovs.data.items import read_ood
from semiovs.errors import SemiovsError
from semiovs.images.conventions import IGNORE
from semiovs.images.overlay import overlay, resize_photo, shrink_labels
from semiovs.loggers.pictures import find_learnt_labels, spread
from semiovs.report.pictures import encode_url
from semiovs.run_page.measurement import Example, Labels

#: OOD images that are shown, and their long side in pixels.
_SHOWN, _SIDE = 12, 240
#: Colours of right and wrong pixels, and of those without a truth or a prediction.
_ERRORS = np.array([[228, 230, 234], [213, 94, 0], [255, 255, 255]], np.uint8)


@dataclass(frozen=True)
class Gallery:
    """Some OOD images with their labels. tiles: for the template; problems: images that could not be read."""

    tiles: list[dict[str, str]]
    images: int
    classes: list[int]
    problems: list[str]


def make_strip(name: str, example: Example, score: float | None, colors: NDArray[np.uint8]) -> dict[str, Any]:
    """Image, truth, prediction and errors of an example. score: mIoU of the image; colors: (256, 3)."""
    white = colors.copy()
    white[IGNORE] = 255
    cells = [{"caption": "image", "src": encode_url(example.picture, "JPEG")}]
    for caption, ids in (("truth", example.truth), ("prediction", example.predicted)):
        cells.append({"caption": caption, "src": encode_url(Image.fromarray(white[ids]), "PNG")})
    errors = Image.fromarray(draw_errors(example.truth, example.predicted))
    cells.append({"caption": "errors", "src": encode_url(errors, "PNG")})
    return {"name": name, "score": "" if score is None else f"{score:.1f}", "cells": cells}


def draw_errors(truth: Labels, predicted: Labels) -> NDArray[np.uint8]:
    """(H, W, 3): wrong pixels orange, right ones gray, those without a truth or a prediction white."""
    unknown = (truth == IGNORE) | (predicted == IGNORE)
    kinds = np.where(unknown, 2, truth != predicted)
    return np.asarray(_ERRORS[kinds])


def list_shown_classes(examples: Sequence[Example], classes: int) -> list[int]:
    """Ids of the classes in the truths and predictions of examples."""
    ids = [np.unique(labels) for example in examples for labels in (example.truth, example.predicted)]
    return [int(k) for k in np.unique(np.concatenate(ids)) if k < classes] if ids else []


def make_gallery(images: Collection, config: Config) -> Gallery | None:
    """Some of the OOD images, evenly spread, with the labels that the training learnt; None without any."""
    if images.ood is None or not len(images.ood):
        return None
    labels = find_learnt_labels(images, config)
    tiles, problems, seen = [], [], set[int]()
    for record in spread(images.ood, _SHOWN):
        try:
            picture, label, _ = read_ood(record, labels, scores=False, read=images.images.read_preview)
        except SemiovsError as error:
            problems.append(str(error))
            continue
        small = resize_photo(picture, _SIDE)
        if labels is not None:
            ids = shrink_labels(label, small.size)
            seen.update(int(k) for k in np.unique(ids) if k < len(images.vocabulary))
            small = overlay(small, ids, 0.55, colors=images.vocabulary.colors)
        tiles.append({"name": record.id, "src": encode_url(small, "JPEG", quality=75)})
    return Gallery(tiles, len(images.ood), sorted(seen), problems)
