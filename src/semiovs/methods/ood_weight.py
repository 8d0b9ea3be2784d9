"""`ood.weight=auto`: λ is halved when the run falls behind on labels that are kept aside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Points of mIoU below the best that are a loss, and not the noise between two evaluations.
DRIFT = 3.0
#: Evaluations in a row that have to show it.
IN_A_ROW = 2


class OodWeight(nn.Module):
    """λ as a state: it starts at the published value and is only ever halved.

    published: λ at step 0. Buffers: value (0-d), λ now; best, the highest mIoU so far in percent, -1 before the first;
    behind, evaluations in a row at least `DRIFT` points below it, since the last halving.
    """

    value: Tensor
    best: Tensor
    behind: Tensor

    def __init__(self, published: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(float(published)))
        self.register_buffer("best", torch.tensor(-1.0))
        self.register_buffer("behind", torch.tensor(0))

    @torch.no_grad()
    def watch(self, miou: float) -> None:
        """Hear an evaluation on held-out labels, in percent; all ranks hear the same."""
        self.behind.copy_(torch.where(self.best - miou >= DRIFT, self.behind + 1, 0))
        late = self.behind >= IN_A_ROW
        self.value.mul_(torch.where(late, 0.5, 1.0))
        self.behind.mul_(~late)
        self.best.clamp_(min=miou)


def read_ood_weight(method: nn.Module) -> float | None:
    """λ of a method now where it moves, None elsewhere; waits for the device."""
    moving = getattr(method, "moving_ood_weight", None)
    return float(moving.value) if isinstance(moving, OodWeight) else None
