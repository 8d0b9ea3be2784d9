"""Masks that count their classes from 1, and copies of them that were moved down by one."""

from __future__ import annotations

import numpy as np

from semiovs.datasets.file_index import FileIndex
from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE, MASK_SUFFIXES
from semiovs.images.image import open_image

_LOOKED_AT = 24


def is_shifted_down(shelf: FileIndex, folders: tuple[str, ...], last: int) -> bool:
    """Whether masks whose classes are officially 1 to `last` were moved down by one already, 0 to 255.

    Some masks of each folder, evenly chosen, tell: official ones never hold 255, moved ones never `last`.
    """
    seen: set[int] = set()
    for folder in folders:
        stems = sorted(shelf.stems(folder))
        for stem in stems[:: max(1, len(stems) // _LOOKED_AT)]:
            path = shelf.find([f"{folder}/{stem}.png"], MASK_SUFFIXES)
            try:
                if path is not None:
                    with open_image(path) as image:
                        seen |= set(np.unique(np.asarray(image)).tolist()) if image.mode in {"L", "P"} else set()
            except DataError:
                continue  # what is wrong with it is told by the check of the data
    return IGNORE in seen and last not in seen
