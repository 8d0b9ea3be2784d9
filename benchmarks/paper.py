"""As `methods`, with the papers' models at a size that the device can take. Long: an hour on a CPU."""

from __future__ import annotations

from benchmarks.measure import Row, Size
from benchmarks.methods import CASES, of_models


def rows(size: Size) -> list[Row]:
    return [row for case in CASES for row in of_models(case, case.models[size.device][1:], size)]
