"""Thresholds that follow the student class by class: a class it is less sure of is learnt at a lower one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist

from semiovs.errors import UsageError
from semiovs.methods.maths import Target

#: Cells of the histogram of confidence; a threshold is the lower end of one.
BINS = 200
#: No threshold of a class is lower, unless τ is.
FLOOR = 0.5
#: What a histogram keeps of its counts at each micro-step that shows its class.
MOMENTUM = 0.99
#: Shares of a histogram in whole numbers, which a GPU adds up in any order with one result.
_WHOLE = 2**30


class ClassThresholds(nn.Module):
    """τ_k = min(τ, max(floor, Q_k)), Q_k the running quantile of the confidence of the pixels labelled k.

    The idea of thresholds that differ by class and follow what is learnt is FlexMatch's (Zhang et al. 2021) and
    FreeMatch's (Wang et al. 2023); theirs scale one threshold, this one reads it from the confidences themselves.

    ceiling: τ, (K,), also where a class has not been seen; quantile: of Q_k, in (0, 1); floor: in [0, 1), by default
    `FLOOR`.

    Raises:
        UsageError: numbers out of range, or no ceiling above the floor, so that nothing could move.
    """

    ceiling: Tensor
    histogram: Tensor
    values: Tensor

    def __init__(self, ceiling: Tensor, quantile: float, floor: float | None = None) -> None:
        super().__init__()
        floor = FLOOR if floor is None else floor
        if not 0 < quantile < 1:
            raise UsageError(f"method.thresh_quantile: {quantile} must be above 0 and below 1, like 0.8")
        if not 0 <= floor < 1:
            raise UsageError(f"method.thresh_floor: {floor} must be at least 0 and below 1, like 0.5")
        if not bool((ceiling > floor).any()):
            raise UsageError(
                f"method.thresh_quantile: method.conf_thresh is nowhere above method.thresh_floor={floor:g}, so no "
                "threshold could move; raise the one, or lower the other"
            )
        self.quantile, self.floor = quantile, floor
        self.register_buffer("ceiling", ceiling, persistent=False)
        self.register_buffer("histogram", torch.zeros(len(ceiling), BINS))
        self.register_buffer("values", ceiling.clone())

    @torch.no_grad()
    def follow(self, target: Target) -> None:
        """Add the confidences of the valid pixels of `target`, of all ranks, each under its label.

        The counts of a class fade by `MOMENTUM` where it is seen; a class that is not seen keeps its threshold.
        """
        counts = sum_over_ranks(self._count(target))
        seen = counts.sum(1, keepdim=True) > 0
        self.histogram.copy_(torch.where(seen, MOMENTUM * self.histogram + counts, self.histogram))
        total = self.histogram.sum(1, keepdim=True)
        shares = (self.histogram / total.clamp(min=1) * _WHOLE).long().cumsum(1)
        below = (shares <= int(self.quantile * _WHOLE)).sum(1).clamp(max=BINS - 1)  # cells that lie below Q_k
        quantile = (below / BINS).clamp(min=self.floor)
        self.values.copy_(torch.where(total[:, 0] > 0, torch.minimum(quantile, self.ceiling), self.ceiling))

    def _count(self, target: Target) -> Tensor:
        """(K, BINS) int64."""
        cells = self.histogram.numel()
        place = (target.confidence * BINS).long().clamp(0, BINS - 1) + target.label * BINS
        place = torch.where(target.valid, place, cells).flatten()
        # `bincount` would read its maximum back from the device.
        counts = torch.zeros(cells + 1, dtype=torch.int64, device=place.device)
        return counts.scatter_add_(0, place, torch.ones_like(place))[:cells].view_as(self.histogram)


def sum_over_ranks(counts: Tensor) -> Tensor:
    """The sum of all ranks' counts."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
    return counts
