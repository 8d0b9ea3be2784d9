"""Choosing so many images that the classes come out as equal as the pool allows, and the images of each as different as possible.

Water-filling: the class with the fewest chosen images is next, the rarer one if two have as few; an image counts for every
class that it shows. Of a class, a window of candidates is looked at, and the one farthest from everything chosen so far is
taken (Gonzalez 1985's farthest-first, over a sample as in Mirzasoleiman et al. 2015), so a pick costs the same in a pool of a
million.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semiovs.similarity.descriptor import Vectors, lengths

#: Candidates of a class that are looked at, and how many of these, the nearest to what is chosen, make room at each pick.
WINDOW, _LEAVING = 64, 4


def choose_balanced(
    present: NDArray[np.bool_], vectors: Vectors, budget: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose at most `budget` rows.

    present: (N, K) which classes an image shows; vectors: (N, D); rows stand in the order in which equals are preferred (a random
    one). Rows without a class are never chosen.

    Returns the rows in the order in which they were chosen, and the class that each was chosen for.
    """
    total = present.sum(axis=0)
    spread = _ChosenSet(vectors, min(budget, len(present)))
    queues = [_ClassQueue(deque(np.flatnonzero(present[:, k]).tolist())) for k in range(present.shape[1])]
    counts = np.zeros(present.shape[1], np.int64)
    open_ = total > 0
    classes: list[int] = []
    while len(classes) < budget and open_.any():
        waiting = np.flatnonzero(open_)
        k = int(waiting[np.lexsort((waiting, total[waiting], counts[waiting]))[0]])
        row = queues[k].take(spread)
        if row is None:
            open_[k] = False
            continue
        spread.choose(row)
        counts += present[row]
        classes.append(k)
    return spread.chosen, np.array(classes, np.int64)


class _ChosenSet:
    """How near each row is to what is chosen; brought up to date for the rows that are asked for."""

    def __init__(self, vectors: Vectors, budget: int) -> None:
        self.vectors, self.lengths = vectors, lengths(vectors)
        self.nearest = np.full(len(vectors), -2.0, np.float32)
        self.taken = np.zeros(len(vectors), bool)
        self._known = np.zeros(len(vectors), np.int64)
        self._rows = np.zeros(budget, np.int64)
        self._table = np.zeros((budget, vectors.shape[1]), np.float32)
        self._count = 0

    @property
    def chosen(self) -> NDArray[np.int64]:
        """Rows in the order of choice."""
        return self._rows[: self._count]

    def choose(self, row: int) -> None:
        """Add a row to what is chosen."""
        self._rows[self._count] = row
        self._table[self._count] = self.vectors[row]
        self._count += 1
        self.taken[row] = True

    def cosines(self, rows: list[int]) -> NDArray[np.float32]:
        """Largest cosine of each row with what is chosen, -2 where nothing is."""
        places = np.array(rows)
        known = self._known[places]
        for first in np.unique(known).tolist():
            if first == self._count:
                continue
            some = places[known == first]
            new = slice(first, self._count)
            products = self.vectors[some].astype(np.float32) @ self._table[new].T
            cosine = products / (self.lengths[some, None] * self.lengths[self._rows[new]])
            self.nearest[some] = np.maximum(self.nearest[some], cosine.max(axis=1))
            self._known[some] = self._count
        return np.asarray(self.nearest[places])


@dataclass
class _ClassQueue:
    """Candidates of one class: those in the window, and those that wait."""

    waiting: deque[int]
    window: list[int] = field(default_factory=list)

    def take(self, spread: _ChosenSet) -> int | None:
        """Take the candidate of the window that is farthest from what is chosen; None if there is none."""
        self.window = [row for row in self.window if not spread.taken[row]]
        while len(self.window) < WINDOW and self.waiting:
            row = self.waiting.popleft()
            if not spread.taken[row]:
                self.window.append(row)
        if not self.window:
            return None
        order = np.argsort(spread.cosines(self.window), kind="stable").tolist()
        best: int = self.window[order[0]]
        leaving = order[1:][-_LEAVING:] if self.waiting else []
        self.waiting.extend(self.window[place] for place in leaving)
        gone = {order[0], *leaving}
        self.window = [row for place, row in enumerate(self.window) if place not in gone]
        return best
