"""Two processes on one folder: one is refused, waits, or both do a part; nothing is damaged."""

from __future__ import annotations

import signal
import time

from benchmarks.chaos.equality import run_difference, store_difference
from benchmarks.chaos.harm import Harm
from benchmarks.chaos.trial import Story, kind, require, require_code, require_same
from benchmarks.chaos.world import World


@kind("double-train", "`resume`, `train --overwrite` and `evaluate` on a run that is being trained", times=2)
def double_train(world: World, story: Story) -> None:
    straight, folder = world.straight("unimatch"), world.folder()
    run = folder / "run"
    first = world.start(world.training("unimatch", run), folder)
    goal = story.draws.randint(1, 6)
    require(first.wait_until(lambda: (run / "checkpoints" / f"step-{goal:08d}.pt").exists()), "it did not begin")
    first.send(signal.SIGSTOP)  # so that both are there for certain
    other = folder / "other"
    other.mkdir()
    for words in (["resume", str(run)], world.training("unimatch", run)):
        code, told = world.command(words, other)
        story.tell(f"{words[0]} while it trains")
        require_code(code, 2, told, f"the second {words[0]}")
        require("being written by another process" in told, "the message does not say why", told)
    code, told = world.command(["evaluate", str(run), "--checkpoint", "last"], other)
    story.tell("evaluate while it trains")
    require_code(code, 0, told, "evaluate")
    first.send(signal.SIGCONT)
    require_code(first.finish(), 0, first.told(), "the first")
    require_same(run_difference(run, straight))


@kind("double-label", "two `label` on one store at once, one of them stopped for a while or killed", times=4)
def double_label(world: World, story: Story) -> None:
    straight, folder = world.store(), world.folder()
    store, other = folder / "store", folder / "other"
    other.mkdir()
    killed = bool(story.number % 2)
    harm = Harm(str(store), "kill" if killed else "signal", story.draws.randint(10, 60), number=signal.SIGSTOP)
    one = world.start(world.labelling(store), folder, harm)
    two = world.start(world.labelling(store), other)
    story.tell(f"two at once, of one {harm}")
    time.sleep(story.draws.uniform(1.0, 3.0))
    one.send(signal.SIGCONT)
    while not killed and one.is_alive():
        one.send(signal.SIGCONT)
        time.sleep(0.05)
    codes = (one.finish(), two.finish())
    require_code(codes[0], (0, -signal.SIGKILL) if killed else 0, one.told(), "the first")
    require_code(codes[1], 0, two.told(), "the second")
    code, told = world.command(world.labelling(store), folder)
    require_code(code, 0, told, "a third, which finds all done")
    require_same(store_difference(store, straight))
