"""SIGKILL at drawn moments, half of them between two operations on files; then the command that goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from benchmarks.chaos.equality import (
    comparison_difference,
    evaluation_difference,
    run_difference,
    store_difference,
)
from benchmarks.chaos.harm import Harm
from benchmarks.chaos.learners import LEARNERS, METHODS
from benchmarks.chaos.process import children_of
from benchmarks.chaos.trial import Story, kind, require, require_code, require_same
from benchmarks.chaos.world import World

#: Kills of one run, one after the other.
_KILLS = 3


def draw_kill(draws: random.Random, folder: Path, events: list[str]) -> Harm:
    """At a drawn file event, or up to 30 ms later; half of the moments lie in the saving of a checkpoint."""
    saving = [i for i, line in enumerate(events, 1) if "/checkpoints/" in line]
    at = draws.choice(saving) if saving and draws.random() < 0.5 else draws.randint(1, len(events))
    delay = draws.choice([0.0, 0.0, draws.uniform(0.0005, 0.03)])
    return Harm(str(folder), "kill", at, delay=delay)


@kind("kill-train", "SIGKILL of `train` and `resume`, three times a run", times=12)
def kill_train(world: World, story: Story) -> None:
    _kill_training(world, story, list(METHODS)[story.number % len(METHODS)])


@kind("kill-learner", "as kill-train: every learner, alone and with OOD images", times=len(LEARNERS))
def kill_learner(world: World, story: Story) -> None:
    _kill_training(world, story, list(LEARNERS)[story.number % len(LEARNERS)])


def _kill_training(world: World, story: Story, method: str) -> None:
    straight, folder = world.straight(method), world.folder()
    run, events = folder / "run", world.events(straight)
    for turn in range(_KILLS):  # each lets the run come a part of its way, the last perhaps to its end
        harm = draw_kill(story.draws, run, events[: len(events) // (_KILLS - (turn == 2))])
        code, told = world.command(world.go_on(method, run), folder, harm)
        story.tell(f"{method}: {harm}", told)
        require_code(code, (-signal.SIGKILL, 0), told, "the run to be killed")
        if code == 0:
            story.miss()
    code, told = world.command(world.go_on(method, run), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(run_difference(run, straight))


@kind("kill-between", "SIGKILL of `train` at a moment that no file event names, by the clock", times=4)
def kill_between(world: World, story: Story) -> None:
    method = list(METHODS)[(story.number + 1) % len(METHODS)]
    straight, folder = world.straight(method), world.folder()
    run = folder / "run"
    process = world.start(world.training(method, run, "data.workers=1"), folder)
    process.wait_until(lambda: any((run / "checkpoints").glob("*.tmp-*")))
    time.sleep(story.draws.uniform(0, 0.6))
    story.tell(f"{method}: SIGKILL by the clock, one loader process")
    process.send(signal.SIGKILL)
    if process.finish() == 0:
        story.miss()
    code, told = world.command(world.go_on(method, run, f"data.workers={story.draws.choice([0, 2])}"), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(run_difference(run, straight))


@kind("kill-label", "SIGKILL of `label`, three times a store", times=8)
def kill_label(world: World, story: Story) -> None:
    straight, folder = world.store(), world.folder()
    store, events = folder / "store", world.events(straight)
    seen = 0
    for _ in range(_KILLS):
        harm = draw_kill(story.draws, store, events[: max(20, len(events) - 4 * seen)])
        code, told = world.command(world.labelling(store), folder, harm)
        story.tell(harm, told)
        require_code(code, (-signal.SIGKILL, 0), told, "the job to be killed")
        if code == 0:
            story.miss()
        lines = (store / "index.jsonl").read_bytes().count(b"\n") if (store / "index.jsonl").exists() else 0
        require(lines >= seen, f"the store had {seen} images and has {lines}")
        seen = lines
    code, told = world.command(world.labelling(store), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(store_difference(store, straight))


@kind("kill-evaluate", "SIGKILL of `evaluate`, twice", times=4)
def kill_evaluate(world: World, story: Story) -> None:
    straight, folder = world.evaluated(), world.folder()
    run = folder / "run"
    shutil.copytree(world.straight("unimatch"), run, symlinks=True)
    for _ in range(2):
        at = story.draws.randint(1, len(world.events(straight)))
        harm = Harm(str(run), "kill", at, delay=story.draws.choice([0.0, story.draws.uniform(0, 0.01)]))
        code, told = world.command(["evaluate", str(run)], folder, harm)
        story.tell(harm, told)
        require_code(code, (-signal.SIGKILL, 0), told, "the evaluation to be killed")
        if code == 0:
            story.miss()
    code, told = world.command(["evaluate", str(run)], folder)
    require_code(code, 0, told, "the evaluation")
    require_same(evaluation_difference(run, straight))


@kind("kill-compare", "SIGKILL of `compare`, or of the process that trains for it", times=2)
def kill_compare(world: World, story: Story) -> None:
    straight, folder = world.compared(), world.folder()
    out, rows = folder / "out", story.draws.randint(0, 9)
    process = world.start(world.comparison(out), folder)
    process.wait_until(lambda: _rows(out) >= rows and any(out.rglob("*.pt")))
    victim = process.pid
    if story.number % 2:
        trains = [child for child in children_of(victim) if b"spawn_main" in _command_line(child)]
        victim = trains[0] if trains else victim
    story.tell(f"SIGKILL of {'compare' if victim == process.pid else 'its training process'} after {rows} rows")
    if process.is_alive():
        os.kill(victim, signal.SIGKILL)
    else:
        story.miss()
    code = process.finish()
    require(code in (-signal.SIGKILL, 2, 0), f"compare ended with {code}", process.told())
    code, told = world.command(world.comparison(out), folder)
    require_code(code, 0, told, "the comparison that goes on")
    require_same(comparison_difference(out, straight))


def _rows(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.rglob("metrics.jsonl"))


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
