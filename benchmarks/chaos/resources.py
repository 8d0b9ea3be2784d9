"""A machine that fails: full and read-only disks, calls that fail, limits, lost loaders, names that are taken."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.chaos.equality import run_difference, store_difference
from benchmarks.chaos.harm import Harm
from benchmarks.chaos.process import children_of
from benchmarks.chaos.trial import NotCoveredError, Story, kind, require, require_code, require_same
from benchmarks.chaos.world import World

_ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES)
#: Documented codes of a command that could not do its work.
_FAILED = (2, 3, 4)


def _go_on(world: World, method: str, run: Path, folder: Path) -> None:
    code, told = world.command(world.go_on(method, run), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(run_difference(run, world.straight(method)))


@kind(
    "failing-call",
    "an open, rename, link or removal fails (disk full, I/O error, quota, read-only), once or on",
    times=8,
)
def failing_call(world: World, story: Story) -> None:
    method = ("unimatch", "prevmatch")[story.number % 2]
    folder, events = world.folder(), world.events(world.straight(method))
    run, number = folder / "run", _ERRORS[story.number % len(_ERRORS)]
    harm = Harm(str(run), "error", story.draws.randint(1, len(events)), number=number, twice=story.number % 3 > 0)
    code, told = world.command(world.training(method, run), folder, harm)
    story.tell(harm, told)
    require_code(code, (0, *_FAILED), told, "the run")
    if code != 0:
        require("error:" in told, "no message", told)
        _go_on(world, method, run, folder)
    else:  # what failed was no reason to stop, such as a removal
        code, told = world.command(["resume", str(run)], folder)
        require_code(code, 0, told, "resume of a finished run")
        require_same(run_difference(run, world.straight(method), more=True))


@kind("failing-label", "as failing-call, while labels are written", times=5)
def failing_label(world: World, story: Story) -> None:
    folder, straight = world.folder(), world.store()
    store, number = folder / "store", _ERRORS[story.number % len(_ERRORS)]
    at = story.draws.randint(1, len(world.events(straight)))
    harm = Harm(str(store), "error", at, number=number, twice=story.number % 2 > 0)
    code, told = world.command(world.labelling(store), folder, harm)
    story.tell(harm, told)
    require_code(code, (0, *_FAILED), told, "the job")
    code, told = world.command(world.labelling(store), folder)
    require_code(code, 0, told, "the command that goes on")
    require_same(store_difference(store, straight))


def _in_namespace(script: str, folder: Path) -> tuple[list[int], str]:
    """Run a shell script as root with mounts of its own; returns the numbers it echoes as `code N`."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        raise NotCoveredError("needs root and unshare(1) of Linux to mount a small or read-only file system")
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True)
    if probe.returncode:
        raise NotCoveredError("this machine does not let root mount a file system of its own")
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("code ")]
    return codes, done.stdout + done.stderr


def _shell(words: list[str]) -> str:
    return '"$PYTHON" -m semiovs ' + " ".join(f"'{word}'" for word in words) + ' 2>&1; echo "code $?"'


@kind("full-disk", "a file system that becomes full in a training, and is made larger", times=1)
def full_disk(world: World, story: Story) -> None:
    folder, size = world.folder(), story.draws.randint(400, 2400)
    run, kept = folder / "disk" / "run", folder / "kept"
    run.parent.mkdir()
    train, resume = world.training("supervised", run), f"if ls {run}/checkpoints/step-*.pt; then {{}}; else {{}}; fi"
    script = [f"mount -t tmpfs -o size={size}k tmpfs {run.parent}", _shell(train)]
    script += [f"mount -o remount,size=64m {run.parent}", resume.format(_shell(["resume", str(run)]), _shell(train))]
    codes, told = _in_namespace("\n".join([*script, f"cp -a {run} {kept}"]), folder)
    story.tell(f"a file system of {size} KB, as an interpreter of its own")
    require(len(codes) == 2, "the script broke off", told)
    require_code(codes[0], _FAILED, told, "the run on the full disk")
    require_code(codes[1], 0, told, "the command that goes on")
    require_same(run_difference(kept, world.straight("supervised")))


@kind("read-only", "a run on a file system that is mounted read-only, then writable again", times=1)
def read_only(world: World, story: Story) -> None:
    folder = world.folder()
    run = folder / "run"
    shutil.copytree(world.stopped("supervised"), run, symlinks=True)
    resume = _shell(["resume", str(run)])
    script = [f"mount --bind {run} {run}", f"mount -o remount,ro,bind {run}", resume, f"umount {run}", resume]
    codes, told = _in_namespace("\n".join(script), folder)
    story.tell("a read-only bind mount, as an interpreter of its own")
    require(len(codes) == 2, "the script broke off", told)
    require_code(codes[0], _FAILED, told, "resume on a read-only file system")
    require_code(codes[1], 0, told, "resume")
    require_same(run_difference(run, world.straight("supervised")))


@kind("limits", "RLIMIT_FSIZE, RLIMIT_NOFILE and RLIMIT_AS too small for the run", times=6)
def limits(world: World, story: Story) -> None:
    folder, name = world.folder(), ("RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_AS")[story.number % 3]
    least, most = {
        "RLIMIT_FSIZE": (2_000, 400_000),
        "RLIMIT_NOFILE": (8, 30),
        "RLIMIT_AS": (1_000_000, 120_000_000),
    }[name]
    harm, run = Harm(limits={name: story.draws.randint(least, most)}), folder / "run"
    code, told = world.command(world.training("supervised", run), folder, harm)
    story.tell(harm)
    require_code(code, (0, *_FAILED), told, "the run")
    _go_on(world, "supervised", run, folder)


def _loader_of(process: int) -> int | None:
    """The child with the command line of its parent: forked, and never another program."""
    try:
        own = Path(f"/proc/{process}/cmdline").read_bytes()
        alike = [c for c in children_of(process) if Path(f"/proc/{c}/cmdline").read_bytes() == own]
    except OSError:
        return None
    return alike[0] if alike else None


@kind("lost-loader", "the loader process killed, or stopped and the run asked to end", times=2)
def lost_loader(world: World, story: Story) -> None:
    if sys.platform != "linux":
        raise NotCoveredError("finds the loader through /proc, which Linux has")
    folder = world.folder()
    run, goal = folder / "run", story.draws.randint(2, 7)
    process = world.start(world.training("unimatch", run, "data.workers=1"), folder)
    process.wait_until(lambda: (run / "checkpoints" / f"step-{goal:08d}.pt").exists())
    loader, stopped = _loader_of(process.pid), bool(story.number % 2)
    if loader is None:
        story.miss()
    else:
        os.kill(loader, signal.SIGSTOP if stopped else signal.SIGKILL)
    story.tell(f"loader {'stopped, then SIGTERM to the run' if stopped else 'killed'} after step {goal}")
    if stopped:
        time.sleep(1)
        process.send(signal.SIGTERM)
    code = process.finish()
    require_code(code, (75, 0) if stopped else 0, process.told(), "the run")
    _go_on(world, "unimatch", run, folder)


_NAMES = ("metrics.jsonl", "checkpoints/last.pt", "model.safetensors", "eval.json", "checkpoints/step-00000011.pt")


@kind("taken-name", "a folder where the run wants to write a file", times=len(_NAMES))
def taken_name(world: World, story: Story) -> None:
    folder, name = world.folder(), _NAMES[story.number % len(_NAMES)]
    run = Path(shutil.copytree(world.stopped("supervised"), folder / "run", symlinks=True))
    kept = folder / "kept"
    if (run / name).exists():
        (run / name).rename(kept)
    (run / name).mkdir()
    (run / name / "x").touch()
    code, told = world.command(["resume", str(run)], folder)
    story.tell(f"a folder {name}")
    require_code(code, _FAILED, told, "resume")
    shutil.rmtree(run / name)
    if kept.is_symlink() or kept.exists():
        kept.rename(run / name)
    _go_on(world, "supervised", run, folder)


@kind("clock", "the wall clock of the process jumps by a day, back and forth", times=1)
def clock(world: World, story: Story) -> None:
    folder = world.folder()
    run, jump = folder / "run", (-86400.0, 86400.0)[story.number % 2]
    code, told = world.command(world.training("unimatch", run), folder, Harm(clock=jump))
    story.tell(f"time.time jumps by {jump:+.0f} s")
    require_code(code, 0, told, "the run")
    require_same(run_difference(run, world.straight("unimatch")))
