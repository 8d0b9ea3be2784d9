"""Images for a teacher, decoded ahead of it by a few threads, in the order of the list and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semiovs.data.image import read_image
from semiovs.data.manifest import Record
from semiovs.errors import DataError

#: Decoded pixels that may wait, in bytes; one image may be larger than that.
WAITING = 256 * 2**20


@dataclass(frozen=True)
class Loaded:
    """A batch as it comes from the disk: uint8 RGB (3, H, W) an image, or why it cannot be read."""

    records: Sequence[Record]
    images: Sequence[Tensor | DataError]


def feed(batches: Iterable[Sequence[Record]], *, threads: int, waiting: int = WAITING) -> Generator[Loaded, None, None]:
    """Decode batch after batch; at least one batch, and `2 * threads` images, are read ahead while memory allows.

    waiting: bytes of decoded images that may lie ready before more are read.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        ahead: deque[tuple[Sequence[Record], list[Future[Tensor | DataError]]]] = deque()
        source = iter(batches)
        try:
            while True:
                while _room(ahead, threads, waiting) and (batch := next(source, None)) is not None:
                    ahead.append((batch, [pool.submit(_read, record) for record in batch]))
                if not ahead:
                    return
                records, futures = ahead.popleft()
                if not ahead and (batch := next(source, None)) is not None:  # large images: still one batch ahead
                    ahead.append((batch, [pool.submit(_read, record) for record in batch]))
                yield Loaded(records, [future.result() for future in futures])
        finally:
            for _, futures in ahead:
                for future in futures:
                    future.cancel()


def _room(ahead: Sequence[tuple[Sequence[Record], list[Future[Tensor | DataError]]]], threads: int, limit: int) -> bool:
    futures = [future for _, found in ahead for future in found]
    if len(ahead) >= 2 and len(futures) >= 2 * threads:
        return False
    ready = [future.result() for future in futures if future.done() and not future.cancelled()]
    return sum(image.nbytes for image in ready if isinstance(image, Tensor)) < limit


def _read(record: Record) -> Tensor | DataError:
    """uint8 RGB (3, H, W), as shown; what is wrong with it otherwise."""
    try:
        pixels = np.array(read_image(record.image), dtype=np.uint8)
    except DataError as error:
        return error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
