"""Read an image of a pool: its pixels, and the features by which it is compared with others."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.containers.container import read_bytes
from semiovs.images.image import read_image
from semiovs.images.record import Record
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
    """Yield features in the order of the records, reading a few images ahead as memory allows."""
    with ThreadPoolExecutor(threads, thread_name_prefix="look") as pool:
        ahead: deque[Future[ImageFeatures | DataError]] = deque()
        source, largest = iter(records), WAITING
        try:
            while True:
                while len(ahead) < 2 * threads and (not ahead or largest * (len(ahead) + 1) <= WAITING):
                    record = next(source, None)
                    if record is None:
                        break
                    ahead.append(pool.submit(see, record))
                if not ahead:
                    return
                found = ahead.popleft().result()
                if isinstance(found, ImageFeatures):
                    largest = found.pixels.nbytes if largest == WAITING else max(largest, found.pixels.nbytes)
                yield found
        finally:
            for future in ahead:
                future.cancel()
