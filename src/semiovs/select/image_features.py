"""Looking at one image of a pool: everything by which it is compared with others, and its pixels, if it can be read."""

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
from semiovs.similarity.hashes import perceptual_hash, unframed

#: Decoded pixels that may wait, in bytes; one image may be larger than that.
WAITING = 128 * 2**20


@dataclass(frozen=True)
class Look:
    """What was seen.

    pixels: RGB (H, W, 3); size, digest: bytes and SHA-256 of the file; and of what is inside its borders: hash (perceptual, 64
    bits), picture (its (64,) description), content (width, height).
    """

    record: Record
    pixels: NDArray[np.uint8]
    size: int
    digest: bytes
    hash: int
    picture: Vectors
    content: tuple[int, int]


def look(record: Record) -> Look | DataError:
    """Read an image and describe it; what is wrong with it otherwise."""
    try:
        pixels = np.asarray(read_image(record.image), np.uint8)
        data = read_bytes(record.image)
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{record.image}: {error.strerror or error}")
    digest, content = hashlib.sha256(data).digest(), unframed(pixels)
    extent = (content.shape[1], content.shape[0])
    return Look(record, pixels, len(data), digest, perceptual_hash(content), describe(content), extent)


def looks(
    records: Iterable[Record], *, threads: int, see: Callable[[Record], Look | DataError] = look
) -> Iterator[Look | DataError]:
    """Look at images in their order, a few ahead of time and as many as memory allows."""
    return read_ahead(records, see, threads=threads, limit=WAITING, size=_bytes)


def _bytes(found: Look | DataError) -> int:
    return found.pixels.nbytes if isinstance(found, Look) else 0
