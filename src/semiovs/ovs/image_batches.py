"""Images for a teacher, decoded ahead of it by a few threads, in the order of the list and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semiovs.errors import DataError, is_out_of_memory
from semiovs.images.image import read_image
from semiovs.images.record import Record
from semiovs.read_ahead import read_ahead

#: Decoded pixels that may wait, in bytes; one image may be larger than that.
WAITING = 128 * 2**20


@dataclass(frozen=True)
class Loaded:
    """A batch as it comes from the disk: uint8 RGB (3, H, W) an image, or why it cannot be read."""

    records: Sequence[Record]
    images: Sequence[Tensor | DataError]


#: Path -> RGB image.
ReadRgb = Callable[[Path], Image.Image]
#: Image -> bytes kept for it (`OpenVocabModel.look_ahead`).
LookAhead = Callable[[Tensor], int]


def read_batches(
    batches: Iterable[Sequence[Record]],
    *,
    threads: int,
    batch_size: int = 1,
    waiting: int = WAITING,
    read: ReadRgb | None = None,
    look_ahead: LookAhead | None = None,
) -> Generator[Loaded, None, None]:
    """Decode batch after batch; `batch_size` images are read ahead, and as many as `2 * threads` where memory allows.

    waiting: bytes of decoded images beyond one batch. read: gives RGB of a path; None: `read_image`. look_ahead: given
    each image by the thread that has read it; returns the bytes that it keeps.
    """
    begun: deque[Sequence[Record]] = deque()

    def records() -> Iterator[Record]:
        for batch in batches:
            begun.append(batch)
            yield from batch

    one = partial(_read, read=read or read_image, look_ahead=look_ahead)
    with closing(read_ahead(records(), one, threads=threads, least=batch_size, limit=waiting, size=_bytes)) as images:
        for first in images:
            batch = begun.popleft()
            yield Loaded(batch, [first[0], *(image for image, _ in islice(images, len(batch) - 1))])


def _bytes(found: tuple[Tensor | DataError, int]) -> int:
    return found[1]


def _read(record: Record, read: ReadRgb, look_ahead: LookAhead | None) -> tuple[Tensor | DataError, int]:
    """uint8 RGB (3, H, W), as shown, or what is wrong with it; with the bytes that it holds."""
    try:
        pixels = np.array(read(record.image), dtype=np.uint8)
    except DataError as error:
        return error, 0
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    try:
        return image, image.nbytes + (look_ahead(image) if look_ahead is not None else 0)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return image, image.nbytes  # the teacher does it when it is asked, and a batch that does not fit is split
