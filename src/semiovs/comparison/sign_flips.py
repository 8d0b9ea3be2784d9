"""Whether seeds agree: the sign-flip test of paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: With more ways to flip the signs than this, as many are drawn.
MOST_FLIPS = 10_000


def compute_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the mean of S paired differences: the share of all 2^S sign flips with as large a mean.

    If the arms did not differ, each difference could as well have the other sign. Exact up to 13 seeds, else from
    10,000 flips that are the same each time. 1 for a single seed.
    """
    if len(differences) < 2:
        return 1.0
    from scipy.stats import permutation_test

    found = permutation_test(
        (np.asarray(differences, np.float64), np.zeros(len(differences))),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=MOST_FLIPS,
        random_state=0,
    )
    return float(found.pvalue)


def find_smallest_p(seeds: int) -> float:
    """The smallest p that this number of seeds can give: all differences have one sign."""
    return 2 / 2**seeds if 2**seeds <= MOST_FLIPS else 2 / (MOST_FLIPS + 1)
