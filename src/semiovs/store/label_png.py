"""PNG files of a labelled image: class ids as a palette PNG, confidence as a gray one."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE

#: Measured on 500x375 confidences against Pillow's default: 2.6 ms instead of 12.5, and a file smaller by a sixth.
#: Older OpenCV cannot choose the filter.
_FAST = (
    (cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
    if hasattr(cv2, "IMWRITE_PNG_FILTER")
    else (cv2.IMWRITE_PNG_COMPRESSION, 3)
)

#: zlib's. Measured on 500x375 labels against Pillow's default: 1.4 ms instead of 4.2, and a file larger by 37 %; level
#: 1 is no faster, and its files are larger by 53 %.
_LABEL_LEVEL = 2


def count_pixels(identifier: str, label: NDArray[np.uint8], classes: int) -> dict[int, int]:
    """Count the pixels of each value of a label (H, W), and validate it.

    Raises:
        DataError: wrong type, shape or values.
    """
    if label.dtype != np.uint8 or label.ndim != 2 or not label.size:
        raise DataError(f"label of '{identifier}': {label.dtype} of shape {label.shape}; must be uint8 (H, W)")
    counts = np.bincount(label.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    wrong = [int(v) for v in values if classes <= v != IGNORE]
    if wrong:
        raise DataError(
            f"label of '{identifier}': value {wrong[0]} on {counts[wrong[0]]} pixels is no class of "
            f"0..{classes - 1} and not ignore ({IGNORE})"
        )
    return {int(v): int(counts[v]) for v in values}


def encode_label(label: NDArray[np.uint8], colors: bytes) -> bytes:
    """8-bit palette PNG; colors: 256 RGB triples."""
    image = Image.fromarray(label)
    image.putpalette(colors)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_LABEL_LEVEL)
    return file.getvalue()


def encode_confidence(identifier: str, confidence: NDArray[Any], shape: tuple[int, ...]) -> bytes:
    """8-bit gray PNG of a confidence in [0, 1], or of uint8 values (times 255).

    Raises:
        DataError: wrong shape or values.
    """
    if confidence.shape != shape:
        raise DataError(f"confidence of '{identifier}': shape {confidence.shape}, but its label is {shape}")
    if confidence.dtype != np.uint8:
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise DataError(f"confidence of '{identifier}': not within [0, 1]")
        confidence = np.rint(confidence * 255.0).astype(np.uint8)
    return bytes(cv2.imencode(".png", np.ascontiguousarray(confidence), _FAST)[1])


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """Pixel values of a PNG file."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image, dtype=np.uint8)
