"""`python -m benchmarks.chaos.soak [--minutes 30] [--out FILE.json]`: train, label, evaluate and compare in a loop, in
one process that stays, while others are killed beside it. What it holds must not grow, and nothing may be lost.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing as mp
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing import util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.chaos.__main__ import attempt, empty_row
from benchmarks.chaos.trial import KINDS
from benchmarks.chaos.world import World

#: What happens beside the process that stays, in turn.
HARMS = ("kill-train", "kill-label", "kill-evaluate", "lost-loader", "kill-compare", "kill-between")
#: What is sampled after each round -> by how much the last quarter of the rounds may lie above the second.
BOUNDS = {"memory_mb": 16.0, "handles": 0.0, "threads": 0.0, "shared_memory_files": 0.0, "temporary_files": 0.0}
#: Rounds that a judgement needs: the first quarter warms up.
FEWEST = 8
_SHARED = Path("/dev/shm")
#: Seconds after which nothing of a round may be left in shared memory.
_ROUND = 300

Sample = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    import_module("benchmarks.chaos.kills")
    import_module("benchmarks.chaos.resources")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="begin no round after so long")
    parser.add_argument("--rounds", type=int, help="end after so many, whatever the time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    given = parser.parse_args(arguments)
    util.get_temp_dir()  # type: ignore[attr-defined] # its own folder for sockets outlives ours
    with tempfile.TemporaryDirectory(prefix="semiovs-soak-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = str(Path(folder) / "temporary")
        Path(tempfile.tempdir).mkdir()
        result = soak(Path(folder), given.minutes, given.seed, given.rounds)
    machine.write(result, given.out)
    for name, bound in BOUNDS.items():
        print(f"{name}: {describe(result['samples'], name)}; may rise by {bound:g}")
    return int(bool(result["grown"] or any(row["wrong"] for row in result["kinds"])))


def soak(folder: Path, minutes: float, seed: int, rounds: int | None = None) -> dict[str, Any]:
    """Samples, what has grown, and what the harms came to."""
    before, begin = machine.load(), time.monotonic()
    world = World(folder / "world")
    rows = {name: empty_row(KINDS[name]) for name in HARMS}
    samples: list[Sample] = []
    ours, theirs = mp.Pipe()
    steady = mp.get_context("spawn").Process(target=_stay, args=(theirs, world.root / "steady"), daemon=False)
    steady.start()
    try:
        while time.monotonic() - begin < 60 * minutes and len(samples) != rounds:
            number = len(samples)
            name = HARMS[number % len(HARMS)]
            beside = threading.Thread(target=attempt, args=(KINDS[name], number, seed, world, rows[name]))
            ours.send("go")
            beside.start()
            sample: Sample | str = ours.recv()
            beside.join()
            if isinstance(sample, str):
                raise SystemExit(f"the process that stays: {sample}")
            samples.append(sample | count_outside())
            print(f"round {number}: {samples[-1]}", file=sys.stderr, flush=True)
            shutil.rmtree(world.root / "trials", ignore_errors=True)
    finally:
        ours.send("end")
        steady.join()
    seconds = round(time.monotonic() - begin)
    told = {"seed": seed, "seconds": seconds, "rounds": len(samples), "samples": samples}
    return {**machine.described(before, tiny=False), **told, "grown": grown(samples), "kinds": list(rows.values())}


def count_outside() -> Sample:
    """Files that stayed in shared memory, and those in the folder for temporary ones, but for sockets."""
    now, shared = time.time(), list(_SHARED.iterdir()) if _SHARED.is_dir() else []
    files = [path for path in Path(tempfile.gettempdir()).rglob("*") if not path.is_dir() and not path.is_socket()]
    return {
        "shared_memory_files": float(sum(now - _changed(path, now) > _ROUND for path in shared)),
        "temporary_files": float(len(files)),
    }


def _changed(path: Path, now: float) -> float:
    """When a file was last changed; now, if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return now


def grown(samples: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """What the rounds hold more of at their end: by medians of the last quarter and of the second."""
    if len(samples) < FEWEST:
        return {}
    return {name: describe(samples, name) for name, bound in BOUNDS.items() if _rise(samples, name) > bound}


def describe(samples: Sequence[Mapping[str, float]], name: str) -> str:
    """`310 -> 312`: the medians of the second and of the last quarter."""
    second, last = _quarters(samples, name)
    return f"{second:.0f} -> {last:.0f}"


def _rise(samples: Sequence[Mapping[str, float]], name: str) -> float:
    second, last = _quarters(samples, name)
    return last - second


def _quarters(samples: Sequence[Mapping[str, float]], name: str) -> tuple[float, float]:
    size = max(1, len(samples) // 4)
    values = [sample[name] for sample in samples]
    return statistics.median(values[size : 2 * size] or values), statistics.median(values[-size:])


def _stay(pipe: Connection, folder: Path) -> None:
    """Train, label, evaluate and compare at each "go", and answer with what this process holds afterwards."""
    import torch

    from semiovs.cli import run

    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    sys.stdout = sys.stderr = (folder / "log").open("a", encoding="utf-8")
    world = World(folder / "world")
    while pipe.recv() == "go":
        work = world.folder()
        commands = [
            world.training("unimatch", work / "run"),
            world.labelling(work / "store"),
            ["evaluate", str(work / "run")],
            world.comparison(work / "comparison"),
        ]
        codes = [run(words) for words in commands]
        shutil.rmtree(work)
        gc.collect()
        pipe.send(_hold() if not any(codes) else f"its commands ended with {codes}, see {folder / 'log'}")


def _hold() -> Sample:
    """Resident memory, open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return {
        "memory_mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "handles": float(sum(1 for _ in Path("/proc/self/fd").iterdir())),
        "threads": float(sum(1 for _ in Path("/proc/self/task").iterdir())),
    }


if __name__ == "__main__":
    raise SystemExit(main())
