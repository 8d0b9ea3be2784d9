"""Two ranks of one training: one of them killed, or their launcher asked to end."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from benchmarks.chaos.equality import run_difference
from benchmarks.chaos.harm import Harm
from benchmarks.chaos.learners import METHODS
from benchmarks.chaos.process import Process, children_of
from benchmarks.chaos.trial import NotCoveredError, Story, kind, require, require_code, require_same
from benchmarks.chaos.world import World

#: Modules that begin ranks.
_LAUNCHERS = ("torch.distributed.run", "semiovs.torchrun")
#: Where rank 0 is killed, in turn: while it saves, in an evaluation, anywhere.
_PLACES = ("/checkpoints/", "/scores/", "")
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


def launcher(module: str, restarts: int) -> list[str]:
    """Words of a launcher of two ranks on this machine."""
    return ["-m", module, "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]


@kind("rank-kill", "SIGKILL of one of two ranks in a save, an evaluation, a step; torchrun begins both again", times=8)
def kill_rank(world: World, story: Story) -> None:
    method, module = list(METHODS)[story.number % len(METHODS)], _LAUNCHERS[story.number % 2]
    straight, folder = world.straight_on_ranks(method, launcher(module, 1)), world.folder()
    run = folder / "run"
    process = _kill_main(world, story, method, run) if story.number % 4 < 3 else _kill_other(world, story, method, run)
    code, told = process.finish(), process.told()
    require(code == 0, f"the launch ended with {code}", told)
    if "continuing after step" not in told and "no checkpoint yet" not in told:
        story.miss()
    require_same(run_difference(run, straight))


@kind("rank-lost", "SIGKILL of a rank without a restart left; the same command again, with `--resume`", times=2)
def lose_rank(world: World, story: Story) -> None:
    method = list(METHODS)[story.number % len(METHODS)]
    straight, folder = world.straight_on_ranks(method, launcher(_LAUNCHERS[0], 1)), world.folder()
    run = folder / "run"
    harm = _draw(story.draws, straight, run, _PLACES[story.number % 3])
    words = [*world.training(method, run, "run.overwrite=false"), "--resume"]
    process = world.launch(launcher(_LAUNCHERS[story.number % 2], 0), words, folder, harm)
    code = process.finish()
    story.tell(f"{method}: {harm}, no restart", process.told())
    require(code != 0, "the launch without a rank ended with 0", process.told())
    process = world.launch(launcher(_LAUNCHERS[0], 0), words, folder, Harm())
    require_code(process.finish(), 0, process.told(), "the command that goes on")
    require_same(run_difference(run, straight))


@kind("rank-signal", "SIGTERM, SIGUSR1 or SIGINT to `semiovs.torchrun`: 75 or 130; the command again", times=3)
def signal_launcher(world: World, story: Story) -> None:
    method, number = list(METHODS)[story.number % len(METHODS)], _SIGNALS[story.number % 3]
    straight, folder = world.straight_on_ranks(method, launcher(_LAUNCHERS[0], 1)), world.folder()
    run, rows = folder / "run", story.draws.randint(0, 6)
    words = [*world.training(method, run, "run.overwrite=false"), "--resume"]
    process = world.launch(launcher(_LAUNCHERS[1], 2), words, folder, Harm())
    process.wait_until(lambda: _rows(run) >= rows and any(run.glob("checkpoints/step-*.pt")))
    story.tell(f"{method}: {number.name} to semiovs.torchrun after {rows} rows", process.told())
    process.send(number)
    code = process.finish()
    require_code(code, (130 if number == signal.SIGINT else 75, 0), process.told(), "the launch that was asked to end")
    if code == 0:
        story.miss()
    process = world.launch(launcher(_LAUNCHERS[1], 0), words, folder, Harm())
    require_code(process.finish(), 0, process.told(), "the command that goes on")
    require_same(run_difference(run, straight))


def _kill_main(world: World, story: Story, method: str, run: Path) -> Process:
    """Rank 0, at one of its file events, or up to 30 ms later."""
    straight, module = world.straight_on_ranks(method, ()), _LAUNCHERS[story.number % 2]
    harm = _draw(story.draws, straight, run, _PLACES[story.number % 4])
    process = world.launch(launcher(module, 1), world.training(method, run), run.parent, harm)
    process.finish()
    story.tell(f"{method}, {module}: {harm}", process.told())
    return process


def _kill_other(world: World, story: Story, method: str, run: Path) -> Process:
    """Rank 1, which writes nothing, by the clock."""
    module, rows, late = _LAUNCHERS[story.number % 2], story.draws.randint(0, 9), story.draws.uniform(0, 0.1)
    process = world.launch(launcher(module, 1), world.training(method, run), run.parent, Harm())
    process.wait_until(lambda: _rows(run) > rows)
    time.sleep(late)
    victim = _find_rank(process, 1)
    story.tell(f"{method}, {module}: SIGKILL of rank 1, {1000 * late:.0f} ms after {rows + 1} rows")
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    return process


def _draw(draws: random.Random, straight: Path, run: Path, place: str) -> Harm:
    """A kill of rank 0 at an event of a run whose folder is another."""
    events = (straight.parent / "events").read_text("utf-8").splitlines()
    at = draws.choice([i for i, line in enumerate(events, 1) if place in line])
    return Harm(str(run), "kill", at, delay=draws.choice([0.0, 0.0, draws.uniform(0.0005, 0.03)]), rank=0)


def _find_rank(launch: Process, rank: int) -> int | None:
    """Number of the process of a rank; None once there is none."""
    if not Path("/proc/self/environ").exists():
        raise NotCoveredError("no /proc")
    found = children_of(launch.pid)
    found += [grandchild for child in found for grandchild in children_of(child)]  # of semiovs.torchrun
    return next((each for each in found if f"\0RANK={rank}\0".encode() in b"\0" + _environment(each)), None)


def _environment(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def _rows(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
