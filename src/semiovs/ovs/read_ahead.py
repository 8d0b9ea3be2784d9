"""Decode images for a teacher ahead of time, by threads, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semiovs.errors import DataError
from semiovs.images.image import read_image
from semiovs.images.record import Record

#: Bytes of decoded images that may wait; a single image may be larger.
WAITING = 128 * 2**20


@dataclass(frozen=True)
class LoadedBatch:
    """A batch of records with their images, uint8 RGB (3, H, W), or the errors of unreadable ones."""

    records: Sequence[Record]
    images: Sequence[Tensor | DataError]


#: Path -> RGB image.
ReadRgb = Callable[[Path], Image.Image]
_Ahead = deque[tuple[Sequence[Record], list[Future[Tensor | DataError]]]]


def read_batches(
    batches: Iterable[Sequence[Record]], *, threads: int, waiting: int = WAITING, read: ReadRgb | None = None
) -> Generator[LoadedBatch, None, None]:
    """Decode batch after batch; one batch is read ahead, and as many as give `2 * threads` images where memory allows.

    waiting: bytes of decoded images beyond one batch; those that are being read count as much as the largest so far.
    read: path -> RGB image; None: `read_image`.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        ahead: _Ahead = deque()
        source, largest = iter(batches), waiting

        def start() -> bool:
            batch = next(source, None)
            if batch is not None:
                ahead.append((batch, [pool.submit(_read_rgb, record, read or read_image) for record in batch]))
            return batch is not None

        try:
            while ahead or start():
                while _has_room(ahead, threads, largest, waiting) and start():
                    pass
                records, futures = ahead.popleft()
                if not ahead:
                    start()
                loaded = LoadedBatch(records, [future.result() for future in futures])
                size = max(_count_bytes(image) for image in loaded.images)
                largest = size if largest == waiting else max(largest, size)
                yield loaded
        finally:
            for _, futures in ahead:
                for future in futures:
                    future.cancel()


def _has_room(ahead: _Ahead, threads: int, largest: int, limit: int) -> bool:
    futures = [future for _, found in ahead for future in found]
    if len(ahead) >= 2 and len(futures) >= 2 * threads:
        return False
    return sum(_count_bytes(future.result()) if future.done() else largest for future in futures) < limit


def _count_bytes(image: Tensor | DataError) -> int:
    return image.nbytes if isinstance(image, Tensor) else 0


def _read_rgb(record: Record, read: ReadRgb) -> Tensor | DataError:
    """Read as uint8 RGB (3, H, W), as shown; return the error of an unreadable image."""
    try:
        pixels = np.array(read(record.image), dtype=np.uint8)
    except DataError as error:
        return error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
