"""Read an image of a pool: its pixels, and the features by which it is compared with others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.containers.container import read_bytes
from semiovs.images.image import read_image
from semiovs.images.record import Record
from semiovs.read_ahead import read_ahead
from semiovs.similarity.descriptor import Vectors, describe
from semiovs.similarity.hashes import crop_borders, perceptual_hash

#: Decoded pixels that may wait, in bytes; one image may be larger than that.
WAITING = 128 * 2**20


@dataclass(frozen=True)
class ImageFeatures:
    """Features of one image.

    pixels: RGB (H, W, 3); size, digest: bytes and SHA-256 of the file. Of the content without borders: hash
    (perceptual, 64 bits), picture ((64,) descriptor), content (width, height).
    """

    record: Record
    pixels: NDArray[np.uint8]
    size: int
    digest: bytes
    hash: int
    picture: Vectors
    content: tuple[int, int]


def read_features(record: Record) -> ImageFeatures | DataError:
    """Read an image and compute its features; return the error if it cannot be read."""
    try:
        pixels = np.asarray(read_image(record.image), np.uint8)
        data = read_bytes(record.image)
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{record.image}: {error.strerror or error}")
    digest, content = hashlib.sha256(data).digest(), crop_borders(pixels)
    extent = (content.shape[1], content.shape[0])
    return ImageFeatures(record, pixels, len(data), digest, perceptual_hash(content), describe(content), extent)


def read_features_ahead(
    records: Iterable[Record], *, threads: int, see: Callable[[Record], ImageFeatures | DataError] = read_features
) -> Iterator[ImageFeatures | DataError]:
    """Look at images in their order, a few ahead of time and as many as memory allows."""
    return read_ahead(records, see, threads=threads, limit=WAITING, size=_bytes)


def _bytes(found: ImageFeatures | DataError) -> int:
    return found.pixels.nbytes if isinstance(found, ImageFeatures) else 0
