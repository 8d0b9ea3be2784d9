"""Scores of a large image from overlapping windows whose weights fade towards their borders, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
import torch
from torch import Tensor

#: Scores (K, h, w) of the window of these rows and columns; None where there is nothing to see.
FindScores = Callable[[slice, slice], Tensor | None]
#: Rows and columns of an image, and their scores (K, h, w).
Block = tuple[slice, slice, Tensor]
#: Bytes of what a row of windows leaves to the next one that are held in memory; more lie in a temporary file.
_HELD = 64 << 20


def place_windows(length: int, window: int, overlap: int) -> list[slice]:
    """The fewest windows of one length that cover `length` pixels and share at least `overlap` with their neighbours,
    evenly spread; one of `length` if that is not longer than `window`.
    """
    if length <= window:
        return [slice(0, length)]
    steps = -(-(length - window) // (window - overlap))
    starts = [round(number * (length - window) / steps) for number in range(steps + 1)]
    return [slice(start, start + window) for start in starts]


def fade_windows(spans: Sequence[slice], overlap: int) -> list[Tensor]:
    """Weights of the pixels of each window along one side: they rise from the border over `overlap` pixels in a
    straight line, and those of all windows add up to 1 at each pixel.
    """
    total = torch.zeros(spans[-1].stop, dtype=torch.float64)
    ramps = []
    for span in spans:
        length = span.stop - span.start
        near = torch.arange(length, dtype=torch.float64) + 0.5
        ramps.append((torch.minimum(near, length - near) / max(overlap, 1)).clamp(max=1))
        total[span] += ramps[-1]
    return [(ramp / total[span]).float() for ramp, span in zip(ramps, spans, strict=True)]


def blend_windows(
    find_scores: FindScores,
    size: tuple[int, int],
    *,
    classes: int,
    window: int,
    overlap: int,
    spill: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Iterator[Block]:
    """Weighted means of the scores of all windows over an image of `size` (height, width), block by block: each pixel
    comes once, as soon as no later window covers it.

    What is held does not grow with the image: a window, what it shares with the next one, and up to 64 MiB of what a
    row of windows leaves to the next row; more of that lies in a temporary file in the folder `spill`.
    """
    rows_of, columns_of = (place_windows(length, window, overlap) for length in size)
    down, across = fade_windows(rows_of, overlap), fade_windows(columns_of, overlap)
    done, total = 0, len(rows_of) * len(columns_of)
    with ExitStack() as stack:
        below = stack.enter_context(_RowsBelow(spill))
        for i, rows in enumerate(rows_of):
            final = (rows_of[i + 1].start if i + 1 < len(rows_of) else rows.stop) - rows.start
            beside: Tensor | None = None  # (K, h, w) of the columns that this window shares with the one before
            for j, columns in enumerate(columns_of):
                held = torch.zeros(classes, rows.stop - rows.start, columns.stop - columns.start)
                if (found := find_scores(rows, columns)) is not None:
                    torch.mul(found.float().cpu(), down[i][:, None] * across[j], out=held)
                if beside is not None:
                    held[..., : beside.shape[-1]] += beside
                stop = columns_of[j + 1].start if j + 1 < len(columns_of) else columns.stop
                width = stop - columns.start
                beside, ours = held[..., width:].clone(), held[..., :width]
                below.add(j, ours)
                if final < ours.shape[1]:
                    below.keep(j, ours[:, final:])
                done += 1
                progress(done, total)
                yield slice(rows.start, rows.start + final), slice(columns.start, stop), ours[:, :final]


class _RowsBelow:
    """What each column of windows leaves to the rows below. Columns of all rows of windows are the same, and so all
    parts have their place in the file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = SpooledTemporaryFile(max_size=_HELD, dir=None if folder is None else str(folder))  # noqa: SIM115
        self._parts: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._end = 0

    def __enter__(self) -> _RowsBelow:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, number: int, scores: Tensor) -> None:
        """Add what the row above left to the first rows of `scores`."""
        if number not in self._parts:
            return
        place, shape = self._parts[number]
        self._file.seek(place)
        left = np.frombuffer(bytearray(self._file.read(4 * int(np.prod(shape)))), np.float32).reshape(shape)
        scores[:, : shape[1]] += torch.from_numpy(left)

    def keep(self, number: int, scores: Tensor) -> None:
        """Keep scores (K, h, w) for the row below; they have at most one row more than those of the row above."""
        before = self._parts.get(number)
        place = self._end if before is None else before[0]
        if before is None:
            self._end += 4 * scores.shape[0] * (scores.shape[1] + 1) * scores.shape[2]
        self._parts[number] = place, tuple(scores.shape)
        self._file.seek(place)
        self._file.write(scores.contiguous().numpy().tobytes())
