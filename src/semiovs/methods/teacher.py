"""The exponential moving average of a student, as a teacher."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(student: M) -> M:
    """A copy in evaluation mode that takes no gradient."""
    return copy.deepcopy(student).requires_grad_(False).eval()


@torch.no_grad()
def update_average(teacher: nn.Module, student: nn.Module, *, step: int, decay: float, buffers: bool = True) -> None:
    """θ' <- a θ' + (1 - a) θ with a = min(1 - 1 / (step + 1), decay), for parameters and floating buffers.

    At step 0 this is a copy; counters are copied always (Tarvainen & Valpola 2017; the warm-up is UniMatch V2's).
    Without `buffers` the teacher has BatchNorm statistics of its own.
    """
    a = min(1 - 1 / (step + 1), decay)
    theirs, ours = (
        list((m.state_dict() if buffers else dict(m.named_parameters())).values()) for m in (teacher, student)
    )
    pairs = list(zip(theirs, ours, strict=True))
    moving = [(t, s) for t, s in pairs if t.is_floating_point()]
    torch._foreach_lerp_([t for t, _ in moving], [s for _, s in moving], 1 - a)
    if counters := [(t, s) for t, s in pairs if not t.is_floating_point()]:
        torch._foreach_copy_([t for t, _ in counters], [s for _, s in counters])
