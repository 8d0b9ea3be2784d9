"""The ring of previous models: snapshots of the student, whose ensemble gives pseudo-labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.func import functional_call

from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.methods.maths import to_float32
from semiovs.methods.teacher import frozen_copy
from semiovs.models.segmenter import Segmenter
from semiovs.models.statedict import StateDict, compare
from semiovs.vocab.vocabulary import Vocabulary

#: Where the snapshots lie: beside the student; there, with weights (not biases, statistics) in 16 bit; on the host.
STORAGES = ("device", "half", "cpu")
#: Numbers of the snapshots that take part, each with its share of the vote.
Ensemble = Sequence[tuple[int, float]]


class PreviousModels(nn.Module):
    """Up to `slots` snapshots of a student, oldest first; a new one replaces the oldest.

    They are always frozen and in evaluation mode.

    Snapshots are tensors, no modules: they run through one skeleton without weights of its own. So they are no
    parameters (DDP and optimisers do not see them) and no buffers (ranks do not exchange them at each checkpoint), but
    they move with the method and are part of its `state_dict` as ``previous.<slot>.<name>``, with the score that a new
    one must beat as ``previous.best``.

    Raises:
        UsageError: no slot, or an unknown storage.
    """

    def __init__(self, student: Segmenter, *, slots: int, storage: str = "device") -> None:
        super().__init__()
        if slots < 1:
            raise UsageError(f"method.prev_list_max: {slots} must be at least 1")
        if storage not in STORAGES:
            raise UsageError(f"method.prev_storage: '{storage}' is not known{did_you_mean(storage, STORAGES)}")
        self.slots, self.storage = slots, storage
        self.best = -math.inf
        self.snapshots: list[StateDict] = []
        expected = student.state_dict()
        self.expected = {name: torch.empty_like(value, device="meta") for name, value in expected.items()}
        self._hidden = (_skeleton(student),)
        self.eval()

    def __len__(self) -> int:
        return len(self.snapshots)

    @torch.no_grad()
    def remember(self, segmenter: nn.Module) -> None:
        """Keep a copy of `segmenter`.

        All ranks must call it: they keep rank 0's BatchNorm statistics, those that are evaluated.

        Raises:
            WeightsError: it is another model than the student.
        """
        weights = {name for name, _ in segmenter.named_parameters()}
        snapshot = {name: value.detach().clone() for name, value in segmenter.state_dict().items()}
        self._check(snapshot, "a model")
        if dist.is_available() and dist.is_initialized():
            for name in sorted(snapshot.keys() - weights):
                dist.broadcast(snapshot[name], src=0)
        self._push(snapshot)

    def improves(self, score: float) -> bool:
        """Whether `score` is strictly higher than all before; then it is the one to beat."""
        better = score > self.best
        self.best = max(self.best, score)
        return better

    @torch.no_grad()
    def logits(self, ensemble: Ensemble, *groups: Tensor) -> tuple[Tensor, ...]:
        """Σ_i d_i f_i(x), without gradient: groups (B_i, 3, H, W) -> weighted sums of logits (B_i, K, H, W)."""
        images = torch.cat(groups)
        votes = (share * to_float32(self._run(which, images)) for which, share in ensemble)
        total = next(votes)
        for vote in votes:
            total = total + vote
        return torch.split(total, [len(group) for group in groups])

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the class names, as in every segmenter."""
        self._hidden[0].prompt(vocabulary)

    @property
    def nbytes(self) -> int:
        """Bytes that the ring takes when every slot is filled (`storage` says where)."""
        return self.slots * sum(v.numel() * self._dtype(v).itemsize for v in self.expected.values())

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def _run(self, which: int, images: Tensor) -> Tensor:
        weights = {
            name: value.to(images.device, images.dtype if value.is_floating_point() else value.dtype, non_blocking=True)
            for name, value in self.snapshots[which].items()
        }
        logits: Tensor = functional_call(self._hidden[0], weights, (images,))
        return logits

    def _push(self, snapshot: StateDict) -> None:
        self.snapshots = [*self.snapshots, {k: self._to_storage(v) for k, v in snapshot.items()}][-self.slots :]

    def _to_storage(self, value: Tensor) -> Tensor:
        if self.storage == "cpu":
            host = value.to("cpu")
            return host.pin_memory() if value.is_cuda else host
        return value.to(self._dtype(value))

    def _dtype(self, value: Tensor) -> torch.dtype:
        half = self.storage == "half" and value.is_floating_point() and value.ndim > 1
        return torch.float16 if half else value.dtype

    def _check(self, snapshot: StateDict, what: str) -> None:
        fit = compare(self.expected, snapshot)
        if not fit.ok:
            raise WeightsError(
                f"previous models: {what} is not of the student's kind: {fit}; take one of the same model"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move with the method (`Module.to` and its kin end here); what is stored on the CPU stays there."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._hidden[0]._apply(fn)  # type: ignore[no-untyped-call]
        if self.storage != "cpu":
            self.snapshots = [{k: self._to_storage(fn(v)) for k, v in s.items()} for s in self.snapshots]
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}best"] = torch.tensor(self.best, dtype=torch.float64)
        for slot, snapshot in enumerate(self.snapshots):
            destination.update({f"{prefix}{slot}.{name}": value for name, value in snapshot.items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        *rest: Any,
    ) -> None:
        """Take the snapshots of `state_dict`, the newest `slots` of them; without a ring in it, keep what is here.

        Raises:
            WeightsError: they are of another model.
        """
        if f"{prefix}best" not in state_dict:
            missing_keys.append(f"{prefix}best")
            return
        found: dict[int, StateDict] = {}
        for key in (key for key in state_dict if key.startswith(prefix) and key != f"{prefix}best"):
            number, _, name = key.removeprefix(prefix).partition(".")
            found.setdefault(int(number) if number.isdecimal() else -1, {})[name] = state_dict[key]
        for slot, snapshot in found.items():
            self._check(snapshot, f"snapshot {slot} of the checkpoint")
        device = next(self._hidden[0].parameters()).device
        self.best, self.snapshots = float(state_dict[f"{prefix}best"]), []
        for slot in sorted(found)[-self.slots :]:
            self._push({name: value.detach().clone().to(device) for name, value in found[slot].items()})


def _skeleton(student: Segmenter) -> Segmenter:
    """The student's structure: every tensor of its state is empty, since `functional_call` brings them."""
    skeleton = frozen_copy(student)
    for module in skeleton.modules():
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.new_empty(0)
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                module._buffers[name] = buffer.new_empty(0)
    return skeleton
