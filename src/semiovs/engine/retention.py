"""Which checkpoints of a run are kept, and which make room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True)
class Retention:
    """What is kept among the checkpoints `step-*.pt` of a run; `best.pt` always stays, and so does the newest.

    last: the newest so many; every: those at multiples of it; best: the last so many that were the best when they were
    scored; most_gib: GiB that they may take together, whatever the other rules keep.
    """

    last: int = 2
    every: int | None = None
    best: int | None = None
    most_gib: float | None = None

    def choose_removed(self, sizes: Mapping[int, int], best: Sequence[int]) -> list[int]:
        """Steps whose checkpoints go, oldest first.

        sizes: step -> bytes of its checkpoint; best: steps that were the best when they were scored, in order.
        """
        steps = sorted(sizes)
        kept = {*steps[-self.last :], *(best[-self.best :] if self.best else ())}
        kept |= {step for step in steps if self.every and step % self.every == 0}
        removed = [step for step in steps if step not in kept]
        left = [step for step in steps if step in kept]
        if self.most_gib is not None:
            while len(left) > 1 and sum(sizes[step] for step in left) > self.most_gib * _GIB:
                removed.append(left.pop(0))
        return removed
