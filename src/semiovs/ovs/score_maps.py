"""Score maps that another program wrote: class scores of the pixels of an image, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from semiovs.array_files import read_array
from semiovs.errors import DataError


def read_score_map(path: Path, classes: int, size: tuple[int, int]) -> Tensor:
    """Scores (K, H, W) in [0, 1], float32, of a ``.npy`` or ``.npz`` file, at the size (H, W) of its image.

    The file holds floats, or uint8 where 255 stands for 1. A map that is smaller than its image, in the same
    proportions but for rounding, is brought to the image's size bilinearly, pixel centres on pixel centres.

    Raises:
        DataError: cannot be read; another type, number of classes or size; scores outside of [0, 1].
    """

    def check(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        known = np.issubdtype(dtype, np.floating) or dtype == np.uint8
        if len(shape) != 3 or shape[0] != classes or not known:
            raise DataError(
                f"{path}: {dtype} array of shape {shape}; "
                f"class scores must be floats or uint8 of shape ({classes}, height, width)"
            )
        _require_size(path, shape[-2:], size)

    stored = read_array(path, "scores", check)
    scores = torch.from_numpy(stored.astype(np.float32))
    if stored.dtype == np.uint8:
        scores /= 255
    elif not bool(((scores >= 0) & (scores <= 1)).all()):
        raise DataError(f"{path}: scores must lie within [0, 1] (probabilities, not logits)")
    if tuple(scores.shape[-2:]) == size:
        return scores
    return interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]


def _require_size(path: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Whether a map of this shape (h, w) can be one of an image of that size, scaled and rounded up or down."""
    (height, width), (full_height, full_width) = shape, size
    fits = 0 < height <= full_height and 0 < width <= full_width
    low = max((height - 1) / full_height, (width - 1) / full_width)
    high = min((height + 1) / full_height, (width + 1) / full_width)
    if shape != size and not (fits and low < high):
        raise DataError(
            f"{path}: {width}x{height}, but its image is {full_width}x{full_height}; "
            "score maps must have the size of their image, or be smaller in the same proportions"
        )
