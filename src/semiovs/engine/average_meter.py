"""Running means of readings, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from semiovs.engine.distributed import World

ReadingNames = tuple[str, ...]


class AverageMeter:
    """Sums vectors of readings; only `read` synchronises host and device.

    Its state is part of a checkpoint, so that a resumed run writes the same log lines as an uninterrupted one.
    """

    def __init__(self) -> None:
        self._sums: dict[ReadingNames, Tensor] = {}
        self._counts: dict[ReadingNames, int] = {}

    def add(self, names: ReadingNames, values: Tensor) -> None:
        """Add the readings `values` (N,) called `names` of one step; the set of names may differ from step to step."""
        known = self._sums.get(names)
        self._sums[names] = values.clone() if known is None else known + values
        self._counts[names] = self._counts.get(names, 0) + 1

    def read(self, world: World) -> dict[str, float]:
        """Mean of each reading over the steps that had it and over all ranks; resets the meter."""
        totals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for names, values in self._sums.items():
            for name, value in zip(names, world.mean(values).tolist(), strict=True):
                totals[name] = totals.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + self._counts[names]
        self._sums, self._counts = {}, {}
        return {name: total / counts[name] for name, total in totals.items()}

    def state_dict(self) -> list[dict[str, Any]]:
        """Plain data that `load_state_dict` reads back."""
        return [{"names": list(n), "sum": v, "count": self._counts[n]} for n, v in self._sums.items()]

    def load_state_dict(self, state: list[Mapping[str, Any]], device: torch.device) -> None:
        """Inverse of `state_dict`."""
        self._sums = {tuple(row["names"]): row["sum"].to(device) for row in state}
        self._counts = {tuple(row["names"]): int(row["count"]) for row in state}
