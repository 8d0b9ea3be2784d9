"""Choose a given number of images with balanced classes and diverse content.

Water-filling: the class with the fewest chosen images is next (the rarer one of equals); an image counts for every
class that it shows. Among a window of candidates of that class, the one farthest from all chosen images is taken
(farthest-first, Gonzalez 1985, over a sample as in Mirzasoleiman et al. 2015), so the cost of a pick does not depend on
the size of the pool.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semiovs.similarity.descriptor import Vectors, lengths

#: Candidates of a class in the window, and how many of them (those nearest to chosen images) are replaced at each pick.
WINDOW, _LEAVING = 64, 4


def choose_balanced(
    present: NDArray[np.bool_], vectors: Vectors, budget: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose at most `budget` rows.

    present: (N, K) which classes an image shows; vectors: (N, D); rows are in the order in which equals are preferred
    (a random one). Rows without a class are never chosen.

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
    """The chosen rows, and the largest cosine of other rows with them, updated on demand."""

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
        """Add a row to the chosen ones."""
        self._rows[self._count] = row
        self._table[self._count] = self.vectors[row]
        self._count += 1
        self.taken[row] = True

    def cosines(self, rows: list[int]) -> NDArray[np.float32]:
        """Largest cosine of each row with a chosen one; -2 while none is chosen."""
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
    """Candidates of one class: the window, and the rows waiting behind it."""

    waiting: deque[int]
    window: list[int] = field(default_factory=list)

    def take(self, spread: _ChosenSet) -> int | None:
        """Remove and return the candidate that is farthest from the chosen rows; None if there is none."""
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
