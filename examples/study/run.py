"""Run the study's queue: what is finished is kept, what is not goes on; stops after --budget minutes.

    python examples/study/run.py WORK DATA [KEY=VALUE …] [--budget 10] [--jobs 2] [--only NAME] [--status]

WORK was made by prepare.py from DATA. The state of a comparison is what lies in WORK; finished, it leaves a small JSON
file in --out: scores of each arm and seed, differences with their intervals, minutes and the machines that trained. Single
trainings leave theirs one by one, and go on from that file on another machine.
KEY=VALUE: settings of all trainings on top, for a rehearsal (train.steps=2). Exit code 75 if there is more to do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Lock
from typing import Any

import yaml

from semiovs.files import write_json

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "docs/results/study"
#: Exit code of semiovs, and of this script, where there is more to do.
UNFINISHED = 75
#: What is kept of the results of a comparison.
KEPT = ("verdict", "says", "cost", "steps", "arms", "differences", "seconds")


@dataclass(frozen=True)
class Study:
    """Where the queue works, and how. settings: of all trainings, on top; deadline: of `time.monotonic`; jobs: trainings
    at a time.
    """

    work: Path
    scores: Path
    out: Path
    settings: tuple[str, ...]
    jobs: int
    deadline: float | None

    @property
    def minutes_left(self) -> float | None:
        """Minutes until the deadline, None without one."""
        return None if self.deadline is None else (self.deadline - time.monotonic()) / 60

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed; the last half minute starts nothing."""
        return self.minutes_left is not None and self.minutes_left < 0.5

    def call(self, *words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a verb of semiovs in the study's folder, one thread each."""
        return subprocess.run(
            [sys.executable, "-m", "semiovs", *words], cwd=self.work, check=False, text=True,
            stdout=subprocess.PIPE if capture else None,
        )  # fmt: skip


@dataclass(frozen=True)
class Item:
    """An entry of queue.yaml."""

    entry: Mapping[str, Any]

    @property
    def folder(self) -> str:
        return str(self.entry.get("compare") or self.entry["trainings"])

    @property
    def name(self) -> str:
        return str(self.entry.get("name", self.folder))

    @property
    def settings(self) -> list[str]:
        return list(self.entry.get("set", ()))

    @cached_property
    def seeds(self) -> range:
        return range(int(self.entry["seeds"]))

    def variants(self) -> Iterator[tuple[str, int, list[str]]]:
        """Name, seed and settings of single trainings: a whole round of variants, then the next seed."""
        for seed in self.seeds:
            for name, settings in self.entry["variants"].items():
                yield name, seed, [*self.settings, *settings]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--budget", type=float, metavar="MINUTES")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", metavar="NAME", help="one item of the queue")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the small JSON files")
    parser.add_argument("--queue", type=Path, default=HERE / "queue.yaml", help="another queue")
    parser.add_argument("--status", action="store_true", help="say what is finished, and train nothing")
    given = parser.parse_args(arguments)
    items = [Item(entry) for entry in yaml.safe_load(given.queue.read_text(encoding="utf-8"))]
    items = [item for item in items if given.only in (None, item.name)]
    deadline = None if given.budget is None else time.monotonic() + 60 * given.budget
    scores, settings = given.data.absolute() / "scores_ade20k", tuple(given.settings)
    study = Study(given.work.absolute(), scores, given.out.absolute(), settings, given.jobs, deadline)
    left = [item for item in items if not is_finished(study.out, item)]
    print(f"{len(items) - len(left)} of {len(items)} items finished; left: {', '.join(i.name for i in left) or 'none'}")
    for item in () if given.status else left:
        code = compare(study, item) if "compare" in item.entry else train(study, item)
        if code:
            return code
        left = left[1:]
    return UNFINISHED if left else 0


def compare(study: Study, item: Item) -> int:
    """One comparison; returns an exit code."""
    if study.is_over:
        return UNFINISHED
    arms = item.entry["arms"]
    teacher = ["--teacher", "masks", "--from", str(study.scores)] if "teacher" in arms else []
    budget = [] if study.minutes_left is None else ["--budget", f"{study.minutes_left:.2f}"]
    folder = f"comparisons/{item.folder}"
    done = study.call(
        "compare", "study.yaml", *item.settings, *study.settings, "--arms", ",".join(arms), "--seeds", str(len(item.seeds)),
        "--jobs", str(study.jobs), "--out", folder, *teacher, *budget, "--json", capture=True,
    )  # fmt: skip
    if done.returncode == 0:
        write_result(study, item, json.loads(done.stdout), sorted((study.work / folder / "runs").glob("*/*")))
    return done.returncode


def is_finished(out: Path, item: Item) -> bool:
    """Whether the item's file is there, with all single trainings."""
    if "compare" in item.entry:
        return (out / f"{item.name}.json").is_file()
    done = read_trainings(out, item)["trainings"]
    return all(str(seed) in done.get(name, {}) for name, seed, _ in item.variants())


def read_trainings(out: Path, item: Item) -> dict[str, Any]:
    """What the item's file says of its single trainings: variant -> seed -> mIoU, curve, minutes."""
    path = out / f"{item.name}.json"
    empty = {"item": dict(item.entry), "trainings": {}, "machines": []}
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else empty


def train(study: Study, item: Item) -> int:
    """Single trainings, each noted once it is finished; returns an exit code."""
    root, noting = study.work / "trainings" / item.folder, Lock()
    found = read_trainings(study.out, item)

    def train_one(job: tuple[str, int, list[str]]) -> int:
        name, seed, settings = job
        directory = root / name / f"seed-{seed}"
        if str(seed) in found["trainings"].get(name, {}):
            return 0
        if study.is_over:
            return UNFINISHED
        if any(directory.glob("checkpoints/*.pt")) and not (directory / "model.safetensors").is_file():
            code = study.call("resume", str(directory)).returncode
        elif not (directory / "model.safetensors").is_file():
            own = [f"train.seed={seed}", f"run.dir={directory}"]
            code = study.call("train", "study.yaml", *settings, *study.settings, *own).returncode
        else:
            code = 0
        if code == 0:
            with noting:
                found["trainings"].setdefault(name, {})[str(seed)] = read_scores(directory)
                machine = describe_machine(directory)
                found["machines"] += [machine] if machine not in found["machines"] else []
                write_json(study.out / f"{item.name}.json", found)
        return code

    with ThreadPoolExecutor(study.jobs) as pool:
        codes = list(pool.map(train_one, item.variants()))
    return max(codes, default=0)


def read_scores(run: Path) -> dict[str, Any]:
    """mIoU in percent of the averaged weights at the end, its curve by steps, and the minutes that it trained."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = [(row["step"], round(row["miou"], 2)) for row in rows if row["kind"] == "eval" and row["model"] == "ema"]
    times = sorted(row["wall/time"] for row in rows if "wall/time" in row)
    gaps = [later - before for before, later in pairwise(times)]
    seconds = sum(gap for gap in gaps if gap < 20 * median(gaps))  # a longer one is the time until it was resumed
    return {"miou": curve[-1][1], "curve": curve, "minutes": round(seconds / 60, 1)}


def write_result(study: Study, item: Item, results: Mapping[str, Any], runs: Sequence[Path]) -> None:
    """Write the small file of a finished item; it names no path of this machine."""
    kept = {key: results[key] for key in KEPT if key in results}
    known = {json.dumps(describe_machine(run), sort_keys=True) for run in runs if (run / "env.json").is_file()}
    machines = [json.loads(text) for text in sorted(known)]
    write_json(study.out / f"{item.name}.json", {"item": dict(item.entry), **kept, "machines": machines})
    print(f"{item.name}: finished; {study.out / item.name}.json", flush=True)


def describe_machine(run: Path) -> dict[str, Any]:
    """What a run was trained on: processors, threads and versions."""
    found = json.loads((run / "env.json").read_text(encoding="utf-8"))
    packages = {name: found["packages"][name] for name in ("semiovs", "torch", "timm")}
    return {"python": found["python"], "cpu": found["cpu"], "gpus": found["gpus"], **packages}


if __name__ == "__main__":
    sys.exit(main())
