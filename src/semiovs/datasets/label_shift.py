"""Detect masks already shifted to start at 0 where the official ones start at 1."""

from __future__ import annotations

from semiovs.datasets.file_index import FileIndex
from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE, MASK_SUFFIXES
from semiovs.images.mask_values import count_values, read_mask_values

_LOOKED_AT = 24


def is_shifted_down(files: FileIndex, folders: tuple[str, ...], last: int) -> bool:
    """Whether masks whose official classes are 1 to `last` are already shifted to start at 0.

    Decided by a sample of each folder: official masks never hold 255, shifted ones never hold `last`.
    """
    seen: set[int] = set()
    for folder in folders:
        stems = sorted(files.stems(folder))
        for stem in stems[:: max(1, len(stems) // _LOOKED_AT)]:
            path = files.find([f"{folder}/{stem}.png"], MASK_SUFFIXES)
            try:
                if path is not None:
                    seen |= {key[0] for key in count_values(read_mask_values(path)) if len(key) == 1}
            except DataError:
                continue  # the check of the data reports it
    return IGNORE in seen and last not in seen
