"""Detect NaN and infinity in losses and gradients, and keep them out of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from semiovs.engine.distributed import World
from semiovs.errors import DivergedError

_NEVER = 2**62


class FiniteGuard:
    """Watches the readings of each step (loss, terms, gradient norm).

    policy "raise": the first bad step of each reading is kept on the device and read when a log line or a checkpoint is
    due (on the CPU at every step). policy "skip": read at every step, which synchronises host, device and ranks; a bad
    step changes neither weights nor buffers, and more than `max_skipped` bad steps in a row raise an error.

    last_good: path of the newest checkpoint, for the message.
    """

    def __init__(
        self,
        world: World,
        policy: Literal["raise", "skip"] = "raise",
        max_skipped: int = 20,
        last_good: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.world = world
        self.policy = policy
        self.max_skipped = max_skipped
        self.last_good = last_good
        self.skipped = 0
        self._in_a_row = 0
        self._first: dict[tuple[str, ...], Tensor] = {}
        self._buffers: KeptBuffers | None = None

    def save_buffers(self, method: nn.Module) -> None:
        """Save the buffers before a step that may be undone (the forward pass updates BatchNorm statistics)."""
        if self.policy == "skip":
            self._buffers = KeptBuffers(method)

    def admit_step(self, step: int, names: tuple[str, ...], values: Tensor) -> bool:
        """Whether the optimiser may take this step; `values` (N,) are the readings called `names`.

        Raises:
            DivergedError: under `raise` on the CPU at once; under `skip` after too many in a row.
        """
        first = self._first.get(names)
        bad = torch.where(torch.isfinite(values), _NEVER, step)
        self._first[names] = bad if first is None else torch.minimum(first, bad)
        if self.policy == "skip":
            return self._admit_or_undo()
        if values.device.type == "cpu" and self.world.size == 1:
            self.check()
        return True

    def check(self) -> None:
        """Read the watched values (a host synchronisation); all ranks get the same result.

        Raises:
            DivergedError: a reading was not finite; names the first step, the readings and the last good checkpoint.
        """
        step, names = self._find_first_failure()
        if step == _NEVER:
            return
        where = self.last_good()
        hint = f"the last good checkpoint is {where}" if where else "there is no checkpoint yet"
        what = ", ".join(names) or "the loss on another process"
        raise DivergedError(
            f"training diverged at step {step}: not finite: {what}; {hint}; lower optim.lr, set optim.clip_norm "
            "or train.precision=fp32, or train.nonfinite=skip"
        )

    def check_weights(self, method: nn.Module) -> None:
        """Raise DivergedError if a weight or buffer is NaN, or a weight infinite; called before each checkpoint."""
        self.check()
        values = [p.detach() for p in method.parameters() if p.is_floating_point()]
        buffers = [b for b in method.buffers() if b.is_floating_point()]
        flags = [~torch.isfinite(v).all() for v in values] + [torch.isnan(b).any() for b in buffers]
        if flags and bool(torch.stack(flags).any()):
            where = self.last_good()
            hint = f"; the last good checkpoint is {where}" if where else ""
            raise DivergedError(f"weights or BatchNorm statistics are not finite: nothing was saved{hint}")

    def _find_first_failure(self) -> tuple[int, list[str]]:
        found = [(step, name) for names, v in self._first.items() for step, name in zip(v.tolist(), names, strict=True)]
        step = self.world.max(-min((step for step, _ in found), default=_NEVER))
        return -step, [name for at, name in found if at == -step]

    def _admit_or_undo(self) -> bool:
        step, _ = self._find_first_failure()
        if step == _NEVER:
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        if self._in_a_row > self.max_skipped:
            self.check()
        self._first = {}
        self.skipped += 1
        if self._buffers is not None:
            self._buffers.restore()
        return False


class KeptBuffers:
    """The buffers of a module as they are now (BatchNorm statistics, memories, moving thresholds): what a forward pass
    writes beside its result, kept so that the pass can be undone.
    """

    def __init__(self, module: nn.Module) -> None:
        self._kept = [
            (owner, name, buffer, buffer.clone())
            for owner in module.modules()
            for name, buffer in owner.named_buffers(recurse=False)
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Put them back, also those that were replaced by others."""
        for owner, name, buffer, value in self._kept:
            buffer.copy_(value)
            setattr(owner, name, buffer)
