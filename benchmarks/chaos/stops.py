"""Signals that ask: exit codes as documented, nothing lost, and a second signal that does not wait."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from benchmarks.chaos.equality import comparison_difference, run_difference, store_difference
from benchmarks.chaos.harm import Harm
from benchmarks.chaos.learners import METHODS
from benchmarks.chaos.trial import Story, kind, require, require_code, require_same
from benchmarks.chaos.world import World
from semiovs.cli.app import TERMINATED
from semiovs.engine.run import read_metrics

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
#: Codes of a run that a signal ended; before it began and after its last step there is nothing to save.
_CODES = {
    signal.SIGTERM: (75, TERMINATED, 0),
    signal.SIGINT: (130, 0),
    signal.SIGUSR1: (75, 0),
}


def _step(run: Path) -> int:
    return max((int(row["step"]) for row in read_metrics(run / "metrics.jsonl")), default=0)


@kind("signal-train", "SIGTERM, SIGINT and SIGUSR1 in turn to one run, each followed by `resume`", times=6)
def signal_train(world: World, story: Story) -> None:
    method = list(METHODS)[story.number % len(METHODS)]
    straight, folder = world.straight(method), world.folder()
    run = folder / "run"
    begun = next(i for i, line in enumerate(world.events(straight), 1) if "step-00000001.pt" in line)
    for turn, number in enumerate(_NUMBERS):
        at = story.draws.randint(begun if not turn else 12, begun + 60)  # a step is about 15 events
        harm = Harm(str(run), "signal", at, number=number, delay=story.draws.choice([0.0, 0.004, 0.02]))
        before = _step(run)
        code, told = world.command(world.go_on(method, run), folder, harm)
        story.tell(f"{method}: {harm}", told)
        require_code(code, _CODES[number], told, f"the run that got {number.name}")
        if code in (75, 130):
            require(any((run / "checkpoints").glob("step-*.pt")), "no checkpoint was saved", told)
            require("semiovs resume" in told or "stopped by" in told, "the message does not say what to do", told)
            require(_step(run) >= before, "steps were lost")
        else:
            story.miss()
    code, told = world.command(world.go_on(method, run), folder)
    require_code(code, 0, told, "resume")
    require_same(run_difference(run, straight))


@kind("signal-early", "SIGTERM, SIGINT or SIGUSR1 while a training begins, before its first checkpoint", times=3)
def signal_early(world: World, story: Story) -> None:
    number, folder = _NUMBERS[story.number % 3], world.folder()
    run, straight = folder / "run", world.straight("supervised")
    begun = next(i for i, line in enumerate(world.events(straight), 1) if "step-00000001.pt" in line)
    harm = Harm(str(run), "signal", story.draws.randint(1, begun - 1), number=number)
    code, told = world.command(world.training("supervised", run), folder, harm)
    story.tell(harm, told)
    unhandled = (-signal.SIGUSR1,) if number == signal.SIGUSR1 else ()
    require_code(code, (*_CODES[number], *unhandled), told, f"the run that got {number.name}")
    code, told = world.command(world.go_on("supervised", run), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(run_difference(run, straight))


@kind("signal-twice", "a second signal while the first is answered: 128 + its number, or what the first asked", times=3)
def signal_twice(world: World, story: Story) -> None:
    number, folder = _NUMBERS[story.number % 3], world.folder()
    run, straight = folder / "run", world.straight("unimatch")
    begun = next(i for i, line in enumerate(world.events(straight), 1) if "step-00000001.pt" in line)
    at, delay = story.draws.randint(begun, len(world.events(straight)) // 2), story.draws.choice([0.001, 0.01])
    harm = Harm(str(run), "signal", at, number=number, delay=delay, twice=True)
    code, told = world.command(world.training("unimatch", run), folder, harm)
    story.tell(harm, told)
    # the second may come when the first has ended the run's part and Python's own handlers are back
    require_code(code, (*_CODES[number], 128 + number, -number), told, f"the run that got {number.name} twice")
    code, told = world.command(world.go_on("unimatch", run), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(run_difference(run, straight))


@kind("signal-label", "SIGTERM, SIGINT and SIGUSR1 in turn to one labelling", times=6)
def signal_label(world: World, story: Story) -> None:
    straight, folder = world.store(), world.folder()
    store = folder / "store"
    for number in _NUMBERS:
        harm = Harm(str(store), "signal", story.draws.randint(10, 50), number=number)
        code, told = world.command(world.labelling(store), folder, harm)
        story.tell(harm, told)
        require_code(code, _CODES[number], told, f"the job that got {number.name}")
        if code == 0:
            story.miss()
    code, told = world.command(world.labelling(store), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(store_difference(store, straight))


@kind("signal-compare", "SIGTERM or SIGINT to `compare` while it trains", times=1)
def signal_compare(world: World, story: Story) -> None:
    straight, folder = world.compared(), world.folder()
    out, number = folder / "out", _NUMBERS[story.number % 2]
    process = world.start(world.comparison(out), folder)
    process.wait_until(lambda: any(out.rglob("step-*.pt")))
    story.tell(f"{number.name} to compare")
    if process.is_alive():
        os.kill(process.pid, number)
    code = process.finish()
    require_code(code, _CODES[number], process.told(), "the comparison")
    code, told = world.command(world.comparison(out), folder)
    require_code(code, 0, told, "the comparison that goes on")
    require_same(comparison_difference(out, straight))
