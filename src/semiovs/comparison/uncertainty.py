"""How far a difference of two arms may be off: other seeds, and other evaluation images.

The mean over S paired seeds of the differences on G groups of images varies with two things:

* seeds: another training, on the same images. Student's t over the per-seed differences, S - 1 degrees of freedom.
* images: another evaluation set, with the same trainings. The delete-one jackknife over groups: each is left out once,
  in both arms and all seeds, and the score is computed again from the sums of the areas.

On the same images, per-seed differences hold a part that belongs to one seed with one image. Both estimates contain it,
so it is taken off the second one (as from the mean squares of a two-way layout): it is the jackknife variance of each
seed's deviation from the mean over seeds. What is left is independent, and the margins add as squares (MOVER: Zou and
Donner 2008, doi 10.1002/sim.3095):

    margin² = t²(S-1) · seed error² + t²(G-1) · image error²

In simulations (tests/unit/compare) these intervals cover 95-97 % with six seeds and 60 images whatever varies most,
93-97 % with 5 or 12 images, and up to 99 % with two seeds. A BCa bootstrap of images in the place of the jackknife
covers 92-93 % where images differ most, being too narrow for small samples, and its draws lose rare classes.
Satterthwaite's degrees of freedom in the place of MOVER cover 91 % with two seeds. With the common part left in both,
99 % are covered where it dominates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.comparison.areas import Floats
from semiovs.comparison.pairing import PairedAreas

#: Numbers in one block of scores, which bounds the memory (a few times 32 MB).
BLOCK = 4_000_000

#: Fewer seeds give no verdict: not even all on one side have p <= 0.05.
SEEDS_NEEDED = 6

#: Share of comparisons that find the smallest detectable difference.
POWER = 0.8


@dataclass(frozen=True, eq=False)
class Errors:
    """Standard errors, in points, of mean differences over seeds: (Q,) of each of Q scores.

    seeds: S; groups: (Q,) that tell something about a score; seed: over trainings (0 for one seed); image: over
    evaluation images, without what `seed` contains already.
    """

    seeds: int
    groups: NDArray[np.int64]
    seed: Floats
    image: Floats

    def margin(self, level: float) -> Floats:
        """(Q,) half the width of an interval that covers the true difference with this probability."""
        return self._combine((1 + level) / 2)

    def detectable(self) -> Floats:
        """(Q,) smallest true difference that comparisons like this find in 80 of 100 cases, two-sided 5 %.

        With six seeds p <= 0.05 needs all of them on one side, which asks for a larger difference than the interval.
        """
        factor = float(np.sqrt(self.seeds) * _normal_quantile(POWER ** (1 / self.seeds)))
        return self._combine(0.975, POWER, least=factor if self.seeds == SEEDS_NEEDED else 0.0)

    def _combine(self, *levels: float, least: float = 0.0) -> Floats:
        """Margins of seeds and images, each its error times the sum of its t quantiles, as squares."""
        seed = max(sum(float(_t_quantile(level, self.seeds - 1)) for level in levels), least) if self.seeds > 1 else 0.0
        image = sum(_t_quantile(level, np.maximum(self.groups - 1, 1)) for level in levels)
        return np.hypot(seed * self.seed, image * self.image)


def estimate_errors(areas: PairedAreas) -> Errors:
    """Standard errors of the differences other - base of the mean over classes and of each class (Q = 1 + K).

    For a class only the groups that hold it count. A class that the group left out alone holds counts 0 in both arms,
    as in the published score, so that such a group weighs heavily. Nothing is known of images from one group: 0.
    """
    seeds, groups = areas.seeds, areas.groups
    score = areas.score()
    difference = score[1] - score[0]
    total, squares = np.zeros_like(difference), np.zeros_like(difference)
    mean_squares = np.zeros_like(difference[0])
    step = max(1, BLOCK // score.size)
    for start in range(0, groups, step):
        without = areas.score_without(slice(start, start + step))
        change = without[1] - without[0] - difference[:, None]
        total += change.sum(axis=1)
        squares += np.square(change).sum(axis=1)
        mean_squares += np.square(change.mean(axis=0)).sum(axis=0)
    # Sums of squares over groups around the mean, of the mean over seeds and of the deviations from it.
    common = mean_squares - np.square(total.mean(axis=0)) / groups
    own = squares.sum(axis=0) - seeds * mean_squares - np.square(total - total.mean(axis=0)).sum(axis=0) / groups
    image = (groups - 1) / groups * (common - (own / (seeds * (seeds - 1)) if seeds > 1 else 0.0))
    seed = difference.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros_like(image)
    holding = np.concatenate([[groups], (areas.target > 0).sum(axis=0)])
    return Errors(seeds, holding, seed, np.sqrt(np.maximum(image, 0)))


def _t_quantile(level: float, freedom: NDArray[np.int64] | int) -> Floats:
    from scipy.special import stdtrit

    quantile: Floats = stdtrit(freedom, level)
    return quantile


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(level))
