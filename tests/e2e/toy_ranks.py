"""What the ranks of `test_ranks.py` run."""

from __future__ import annotations

import json
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contract.toy import toy_batch, toy_method
from semiovs.config import load_config
from semiovs.config.schema import EvalConfig, OptimConfig
from semiovs.engine import training
from semiovs.engine.checkpoint import Checkpoints
from semiovs.engine.checkpoint_state import CheckpointIdentity, restore
from semiovs.engine.distributed import World, join_processes
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.hooks import CheckpointHook, StopHook
from semiovs.engine.loop import Learner, fit
from semiovs.engine.signals import StopSignals
from semiovs.errors import DivergedError, PreemptedError
from semiovs.evaluation import EvaluationStoppedError, evaluate
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.models import Normalization
from unit.toy_learner import batches, learner_of, recipe_of

IDENTITY = CheckpointIdentity({"vocabulary": None}, {}, world_size=2)


def _train(
    learner: Learner, world: World, *, total: int, accumulate: int = 1, bad: tuple[int, ...] = (), hooks: tuple = ()
) -> None:
    fit(learner, batches(rank=world.rank, bad=bad), recipe_of(total, accumulate=accumulate), world, hooks)


def average_gradients(folder: str, accumulate: int) -> None:
    """One step; each rank writes what it arrived at, and its own readings."""
    with join_processes("cpu") as world:
        learner = learner_of(world)
        _train(learner, world, total=1, accumulate=accumulate)
        row = learner.meter.read(world)
        torch.save({"weights": learner.method.student.state_dict(), "row": row}, Path(folder) / f"{world.rank}.pt")


def diverge_on_one_rank(folder: str, policy: str) -> None:
    """Rank 1 meets a NaN at step 2: all ranks must come to the same end."""
    with join_processes("cpu") as world:
        learner = learner_of(world, policy=policy)
        try:
            _train(learner, world, total=4, bad=(2,) if world.rank == 1 else ())
            learner.guard.check()
            end = f"skipped {learner.guard.skipped}"
        except DivergedError as error:
            end = str(error)
        torch.save({"end": end, "weights": learner.method.student.state_dict()}, Path(folder) / f"{world.rank}.pt")


def stop_and_go_on(folder: str) -> None:
    """Six steps at once, and three, a checkpoint, three: every rank must end with its own statistics and readings."""
    with join_processes("cpu") as world:
        straight = learner_of(world)
        _train(straight, world, total=6)
        checkpoints = Checkpoints(Path(folder))
        save = CheckpointHook(checkpoints, IDENTITY, world, every=3, total_steps=6)

        def break_off(learner: Learner) -> None:
            if learner.step == 3:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            _train(learner_of(world), world, total=6, hooks=(save, break_off))
        again = learner_of(world)
        restore(again, checkpoints.load_newest() or {}, world.device, world.rank)
        fit(again, batches(3, rank=world.rank), recipe_of(6), world, ())
        ends = [learner.method.state_dict() for learner in (straight, again)]
        same = all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
        rows = [learner.meter.read(world) for learner in (straight, again)]
        torch.save(
            {"same": same, "rows": rows, "mean": ends[0]["student.1.running_mean"]}, Path(folder) / f"{world.rank}.pt"
        )


def stop_together(folder: str) -> None:
    """A signal reaches rank 1 alone, at step 3: all stop at the same step, with one checkpoint."""
    with join_processes("cpu") as world, StopSignals() as signals:
        save = CheckpointHook(Checkpoints(Path(folder)), IDENTITY, world, every=1000, total_steps=40)

        def signal_rank_one(learner: Learner) -> None:
            if world.rank == 1 and learner.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        learner = learner_of(world)
        try:
            _train(
                learner, world, total=40, hooks=(signal_rank_one, save, StopHook(signals, save, world, total_steps=40))
            )
        except PreemptedError:
            (Path(folder) / f"stopped-{world.rank}-{learner.step}").touch()


def remember_alike(folder: str) -> None:
    """PrevMatch with a snapshot after each step, other images and BatchNorm statistics on each rank."""
    with join_processes("cpu") as world:
        method = toy_method("prevmatch", prev_snapshot="schedule", prev_every=1, prev_list_max=4)
        asked: list[list[tuple[int, float]]] = []
        choose = method.draws.ensemble

        def noted(*arguments: Any, **options: Any) -> list[tuple[int, float]]:
            asked.append(choose(*arguments, **options))
            return asked[-1]

        method.draws.ensemble = noted  # type: ignore[method-assign]
        learner = Learner(
            method, method.optimizers(OptimConfig(lr=0.01)), torch.amp.GradScaler(enabled=False), FiniteGuard(world)
        )
        fit(learner, (toy_batch(method, seed=10 * s + world.rank) for s in range(6)), recipe_of(6), world, ())
        own = method.student.state_dict()
        torch.save({"ring": method.previous.snapshots, "own": own, "asked": asked}, Path(folder) / f"{world.rank}.pt")


class Bright(torch.nn.Module):
    """Class 1 above 0.5, class 0 below."""

    def forward(self, image: Tensor) -> Tensor:
        bright = image.mean(1, keepdim=True) - 0.5
        return torch.cat([-bright, bright, bright - 9], 1)


def score(folder: str, *, world: World | None = None, **changes: Any) -> dict[str, Any]:
    """Scores of seven images by `Bright`."""
    names = [Path(folder) / f"{i}.png" for i in range(7)]
    records = [Record(path.stem, path, path.with_name(f"{path.stem}_m.png")) for path in names]
    ranks = {"rank": world.rank, "world_size": world.size} if world else {}
    masks, raw = MaskReader(("dark", "bright", "never")), Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    found = evaluate(
        Bright(), records, masks=masks, settings=EvalConfig(), normalization=raw, **ranks, **changes
    ).as_json()
    del found["seconds"]
    return found


def rehearse_and_train(fewest: int, *settings: str) -> None:
    """Train, with a rehearsal of runs of `fewest` steps or more."""
    logging.getLogger("semiovs").setLevel(logging.INFO)
    training.FEWEST = fewest
    training.train(load_config(None, settings), ["test"])


def score_together(folder: str) -> None:
    """An evaluation by all ranks, and one that rank 1 alone is asked to stop."""
    with join_processes("cpu") as world:
        found = score(folder, world=world)
        stopped = False
        try:
            score(folder, world=world, stopping=lambda: world.rank == 1)
        except EvaluationStoppedError:
            stopped = True
        (Path(folder) / f"{world.rank}.json").write_text(json.dumps({"scores": found, "stopped": stopped}))
