"""Groups of pictures that are tied to one another in pairs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError, UsageError


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


def find_groups(ids: Sequence[str], pattern: str, option: str) -> dict[str, str]:
    """Id -> what the first group of the regular expression finds in it. option: that gave it, for messages.

    Raises:
        UsageError: no regular expression, or one without a group; DataError: an id that it does not fit.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} '{pattern}': not a regular expression: {error}") from None
    if compiled.groups < 1:
        raise UsageError(f"{option} '{pattern}': put what images of one group share in brackets, like '^(.*)_\\d+$'")
    found: dict[str, str] = {}
    for name in ids:
        match = compiled.search(name)
        if match is None or match[1] is None:
            raise DataError(f"{option} '{pattern}' does not fit the image '{name}'")
        found[name] = match[1]
    return found


def assign_folds(names: Sequence[str], count: int) -> NDArray[np.int64]:
    """(n,) fold of each image, by the hashes of their names; sizes differ by at most one where names differ.

    Images of one name (frames of one film, copies) are in one fold; then the next name goes to the smallest fold.
    """
    members: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    sizes = [0] * max(1, min(count, len(members)))
    folds = np.empty(len(names), np.int64)
    for name in sorted(members, key=lambda name: hashlib.sha256(name.encode()).digest()):
        smallest = sizes.index(min(sizes))
        folds[members[name]] = smallest
        sizes[smallest] += len(members[name])
    return folds
