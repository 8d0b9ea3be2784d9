"""Groups of pictures that are tied to one another in pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def connected(pairs: NDArray[np.int64]) -> list[list[int]]:
    """Groups of two and more indices that (P, 2) pairs tie, directly or through others; ascending, by their first
    index.
    """
    head: dict[int, int] = {}

    def find(index: int) -> int:
        while head.setdefault(index, index) != index:
            head[index] = index = head[head[index]]
        return index

    for one, other in pairs.tolist():
        head[find(one)] = find(other)
    groups: dict[int, list[int]] = {}
    for index in sorted(head):
        groups.setdefault(find(index), []).append(index)
    return [group for group in groups.values() if len(group) > 1]
