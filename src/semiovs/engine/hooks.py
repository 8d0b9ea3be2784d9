"""Hooks for log lines, evaluations, checkpoints and stops by signal; each is called after every step on all ranks."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from semiovs.duration import format_duration
from semiovs.engine.checkpoint import Checkpoints
from semiovs.engine.checkpoint_state import CheckpointIdentity, pack, pack_rank
from semiovs.engine.distributed import World
from semiovs.engine.loop import SCORES, BestScore, Learner, Recipe
from semiovs.engine.signals import StopSignals, make_stop_error
from semiovs.engine.writers import RowWriter
from semiovs.errors import DivergedError, SemiovsError
from semiovs.evaluation import Example, ImageCounts
from semiovs.methods.label_counts import summarize_counts
from semiovs.methods.ood_weight import IN_A_ROW, read_ood_weight

log = logging.getLogger(__name__)

#: Evaluates one model on all ranks; returns plain values, `miou` in percent among them, and maybe `by_image` and
#: `examples`.
Evaluator = Callable[[nn.Module], Mapping[str, Any]]
#: Shows examples of an evaluation, after some step.
ShowExamples = Callable[[int, Sequence[Example]], None]
#: Keeps the counts of each image of an evaluation: name of the model, the counts, whether they are of the best so far.
KeepCounts = Callable[[str, ImageCounts, bool], None]

#: Steps between two checks whether any rank was asked to stop; each check costs a host synchronisation.
ASK_EVERY = 10

#: Seconds that a batch is waited for after a signal, where stopping at once would lose more than a step.
PATIENCE = 15.0

#: Smallest usable gradient scale; below it, fp16 gradients overflow at every scale.
_SMALLEST_SCALE = 2.0**-20


class EstimateHook:
    """Says after the second step how long a training that is too short for a rehearsal will take; the first step is
    slower than others.
    """

    def __init__(self, recipe: Recipe, world: World) -> None:
        self._total, self._world, self._steps, self._begin = recipe.total_steps, world, 0, 0.0

    def __call__(self, learner: Learner) -> None:
        """Measure the second step of this process."""
        self._steps += 1
        if self._steps > 2:
            return
        self._world.synchronize()
        begin, self._begin = self._begin, time.perf_counter()
        left = (self._total - learner.step) * (self._begin - begin)
        if self._steps == 2 and learner.step < self._total:
            log.info("about %s for %d steps, without evaluations", format_duration(left), self._total - learner.step)


class LogHook:
    """Reads the averages every `every` steps and passes a row to the writers (on rank 0).

    images: of each step; classes: their names.
    """

    def __init__(
        self,
        recipe: Recipe,
        world: World,
        writers: Sequence[RowWriter],
        *,
        every: int,
        images: int,
        classes: Sequence[str] = (),
    ) -> None:
        self._recipe, self._world, self._writers, self._classes = recipe, world, writers, classes
        self._every, self._images = every, images
        self._since = self._begin = time.perf_counter()
        self._steps = self._all_steps = 0

    def __call__(self, learner: Learner) -> None:
        """Write a row if one is due."""
        self._steps += 1
        self._all_steps += 1
        if learner.step % self._every and learner.step != self._recipe.total_steps:
            return
        learner.guard.check()
        row = self._make_row(learner)
        for writer in self._writers:
            writer.write(row)
        self._steps, self._since = 0, time.perf_counter()

    def _make_row(self, learner: Learner) -> dict[str, Any]:
        row: dict[str, Any] = {
            "kind": "train",
            "step": learner.step,
            "epoch": (learner.step - 1) // self._recipe.steps_per_epoch,
            **summarize_counts(learner.meter.read(self._world), self._classes),
        }
        groups = [group for optimizer in learner.optimizers for group in optimizer.param_groups]
        row |= {f"lr/{group.get('name', index)}": float(group["lr"]) for index, group in enumerate(groups)}
        if learner.guard.policy == "skip":
            row["skipped"] = learner.guard.skipped
        if learner.scaler.is_enabled():
            row["scale"] = _require_usable_scale(learner.scaler.get_scale(), learner.step)
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        left = (self._recipe.total_steps - learner.step) * (now - self._begin) / self._all_steps
        row |= {"wall/images_per_second": self._steps * self._images / seconds, "wall/eta_seconds": left}
        row["wall/seconds"] = seconds
        row["wall/time"] = time.time()
        if self._world.device.type == "cuda":
            row["wall/memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return row


class _ScoringHook(ABC):
    """Scores models every `every` steps and at the end, once after each of these steps, also in a run that was stopped
    meanwhile.
    """

    kind: ClassVar[str]

    def __init__(self, evaluator: Evaluator, writers: Sequence[RowWriter], *, every: int, total_steps: int) -> None:
        self._evaluator, self._writers, self._every, self._total = evaluator, writers, every, total_steps

    def __call__(self, learner: Learner) -> None:
        """Evaluate if it is due, and tell the method."""
        due = learner.step and (learner.step % self._every == 0 or learner.step == self._total)
        if not due or learner.scored.get(self.kind) == learner.step:
            return
        learner.guard.check()
        self._score(learner)
        learner.scored[self.kind] = learner.step

    @abstractmethod
    def _score(self, learner: Learner) -> None: ...

    def _write(self, row: Mapping[str, Any]) -> None:
        for writer in self._writers:
            writer.write({"kind": self.kind, **row})


class EvaluationHook(_ScoringHook):
    """Evaluates the models of the method every `every` steps and at the end.

    best: the highest mIoU of the model called `default`, the earliest among equals; show: is given the examples of this
    model.
    """

    kind = SCORES[0]

    def __init__(
        self,
        evaluator: Evaluator,
        writers: Sequence[RowWriter],
        *,
        every: int,
        total_steps: int,
        default: str,
        keep: KeepCounts | None = None,
        show: ShowExamples | None = None,
    ) -> None:
        super().__init__(evaluator, writers, every=every, total_steps=total_steps)
        self._default, self._keep, self._show = default, keep, show

    def _score(self, learner: Learner) -> None:
        found = {name: dict(self._evaluator(model)) for name, model in learner.method.models().items()}
        learner.method.train()
        miou = float(found[self._default]["miou"])
        is_best = learner.best is None or miou > learner.best.miou
        if is_best:
            learner.best = BestScore(miou, learner.step)
        for name, values in found.items():
            counts, examples = values.pop("by_image", None), values.pop("examples", ())
            if name == self._default and self._show is not None:
                self._show(learner.step, examples)
            if counts is not None and self._keep is not None:
                self._keep(name, counts, is_best)
            self._write({"step": learner.step, "model": name, "best": is_best and name == self._default, **values})
        metrics = {f"miou/{name}": float(values["miou"]) for name, values in found.items()}
        learner.method.after_evaluate({"step": learner.step, "miou": miou, "best": float(is_best), **metrics})


class HeldOutHook(_ScoringHook):
    """Evaluates the student on the labelled images that are kept aside, as often as `EvaluationHook`, and tells the
    method alone.

    Evaluation images are not used, and the best checkpoint does not depend on this score.
    """

    kind = SCORES[1]

    def _score(self, learner: Learner) -> None:
        miou = float(self._evaluator(learner.method.student)["miou"])
        learner.method.train()
        self._write({"step": learner.step, "model": "student", "miou": miou})
        before = read_ood_weight(learner.method)
        learner.method.after_evaluate({"step": learner.step, "held_out": miou})
        if (now := read_ood_weight(learner.method)) != before:
            log.warning(
                "step %d: mIoU on held-out labels fell behind its best in %d evaluations: ood.weight %g -> %g",
                learner.step,
                IN_A_ROW,
                before,
                now,
            )


class CheckpointHook:
    """Writes a checkpoint every `every` steps, at each new best and at the end."""

    def __init__(
        self, checkpoints: Checkpoints, identity: CheckpointIdentity, world: World, *, every: int, total_steps: int
    ) -> None:
        self._checkpoints, self._identity, self._world = checkpoints, identity, world
        self._every, self._total = every, total_steps
        self._saved = -1

    def __call__(self, learner: Learner) -> None:
        """Save if it is due."""
        best = learner.best is not None and learner.best.step == learner.step
        if best or learner.step % self._every == 0 or learner.step == self._total:
            self.save(learner, best=best)

    @property
    def run(self) -> str:
        """The run directory of the checkpoints."""
        return str(self._checkpoints.directory.parent)

    def save(self, learner: Learner, *, best: bool = False) -> str:
        """Save now, unless this step is saved already; returns the file. All ranks must call it.

        Raises:
            DivergedError: the state is not finite; WeightsError: it cannot be written.
        """
        path = self._checkpoints.path(learner.step)
        if self._saved != learner.step:
            learner.guard.check_weights(learner.method)
            ranks = self._world.gather(pack_rank(learner)) if self._world.size > 1 else []
            if self._world.is_main:
                self._checkpoints.save(pack(learner, self._identity, ranks[1:]), learner.step, best=best)
            self._world.barrier()
            self._saved = learner.step
        return str(path)


class StopHook:
    """Ends the run at a step boundary after a signal, with a checkpoint.

    Ranks agree on stopping every `ASK_EVERY` steps, so that a stop takes up to that many steps.
    """

    def __init__(self, signals: StopSignals, save: CheckpointHook, world: World, *, total_steps: int) -> None:
        self._signals, self._save, self._world, self._total = signals, save, world, total_steps

    def __call__(self, learner: Learner) -> None:
        """Raise PreemptedError or InterruptedRunError if a signal came; a finished run just ends."""
        if learner.step == self._total or (self._world.size > 1 and learner.step % ASK_EVERY):
            return
        number = self._world.max(self._signals.received)
        if number:
            path = self._save.save(learner)
            raise make_stop_error(
                number, f"step {learner.step} is saved in {path}; continue with semiovs resume {self._save.run}"
            )

    def stop_scoring(self, learner: Learner) -> SemiovsError:
        """Save a run that was asked to end in the middle of an evaluation, which `resume` makes again; the error to
        raise.
        """
        number = self._world.max(self._signals.received)
        path = self._save.save(learner)
        return make_stop_error(
            number,
            f"step {learner.step} is saved in {path}, before its evaluation; continue with semiovs resume "
            f"{self._save.run}",
        )

    def stops_scoring(self) -> bool:
        """Whether an evaluation is to end, because a signal came."""
        return bool(self._signals.received)

    def stops_waiting(self, learner: Learner, accumulate: int, micro_step: int) -> bool:
        """Whether to wait no longer for the batch of a micro-step, because a signal came.

        At once where the last step can be saved as it is; else (in the middle of an accumulated step, or among other
        ranks) after `PATIENCE` seconds.
        """
        between = self._world.size == 1 and micro_step == learner.step * accumulate
        return bool(self._signals.received) and (between or self._signals.age > PATIENCE)

    def make_error(self, learner: Learner, accumulate: int, micro_step: int) -> SemiovsError:
        """The error of a run that waited no longer; a step that is complete is saved first."""
        between = self._world.size == 1 and micro_step == learner.step * accumulate
        where = f"nothing was saved since the last checkpoint; continue with semiovs resume {self._save.run}"
        if between and learner.step:
            path = self._save.save(learner)
            where = f"step {learner.step} is saved in {path}; continue with semiovs resume {self._save.run}"
        return make_stop_error(self._signals.received, where)


def _require_usable_scale(scale: float, step: int) -> float:
    if scale < _SMALLEST_SCALE:
        raise DivergedError(
            f"training diverged at step {step}: fp16 gradients overflow at every scale; use bf16 or fp32"
        )
    return scale
