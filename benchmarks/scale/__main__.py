"""`python -m benchmarks.scale measure|simulate|plan`: the numbers of docs/scale.md.

measure --set IMAGES SCORES --classes FILE: what each stage takes, on photographs; simulate: a thousand workers that
fail; plan --images N --speed S: what a job needs, with one's own numbers.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.scale import grid
from benchmarks.scale.plan import ASSUMED_GPUS, ASSUMED_NETWORK, ASSUMED_SPEED, ImageCost, Plan

STAGES, FLEET = Path("docs/results/scale-stages.json"), Path("docs/results/scale-fleet.json")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measure = verbs.add_parser("measure", help="what each stage takes for an image")
    measure.add_argument("--set", dest="sets", nargs=2, type=Path, action="append", metavar=("IMAGES", "SCORES"))
    measure.add_argument("--classes", type=Path, help="file with the names of the classes of the scores, one a line")
    measure.add_argument("--count", type=int, default=256, help="images of each set")
    measure.add_argument("--runs", type=int, default=3)
    measure.add_argument("--many", type=int, default=100_000, help="files that are listed, lines that are read")
    measure.add_argument("--ray", action="store_true", help="also what a task costs on a Ray cluster of this machine")
    measure.add_argument("--out", type=Path, default=STAGES)
    simulate = verbs.add_parser("simulate", help="a thousand workers that fail")
    simulate.add_argument("--stages", type=Path, default=STAGES, help="where it was measured what a task costs")
    simulate.add_argument("--seeds", type=int, default=3)
    simulate.add_argument("--images", type=int, default=grid.IMAGES)
    simulate.add_argument("--workers", type=int, default=grid.WORKERS)
    simulate.add_argument("--out", type=Path, default=FLEET)
    plan = verbs.add_parser("plan", help="what a job needs")
    plan.add_argument("--images", type=float, required=True)
    plan.add_argument("--speed", type=float, default=ASSUMED_SPEED, help="images a second of one GPU")
    plan.add_argument("--gpus", type=int, default=ASSUMED_GPUS)
    plan.add_argument("--network", type=float, default=ASSUMED_NETWORK, help="gigabits a second, all together")
    plan.add_argument("--price", type=float, default=0.0, help="of an hour of a GPU")
    plan.add_argument("--stages", type=Path, default=STAGES)
    given = parser.parse_args(arguments)
    return {"measure": _measure, "simulate": _simulate, "plan": _plan}[given.verb](given, parser)


def _measure(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from benchmarks.scale.stages import measure, measure_dispatch

    if not given.sets or not given.classes:
        parser.error("measure: give --set IMAGES SCORES and --classes FILE")
    classes = [line.strip() for line in given.classes.read_text("utf-8").splitlines() if line.strip()]
    result = measure(given.sets, classes, count=given.count, runs=given.runs, many=given.many)
    earlier = _read(given.out).get("ray") if given.out.is_file() else None
    ray = measure_dispatch() if given.ray else earlier
    machine.write({**result, **({"ray": ray} if ray else {})}, given.out)
    return 0


def _simulate(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    ray = _read(given.stages).get("ray")
    if ray is None:
        parser.error(f"{given.stages}: no `ray` there; run measure --ray")
    dispatch = grid.Dispatch(ray["task_cpu_ms"] / 1e3, ray["block_cpu_ms"] / 1e3)
    result = grid.run(dispatch, given.seeds, given.images, given.workers)
    for row in result["best"]:
        kept = row["kept"] or "nothing"
        print(f"{row['preempted']:g} an hour, kept {kept}: blocks of {row['block']}, {row['wall_s']:.0f} s")
    machine.write(result, given.out)
    return 0


def _plan(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if given.images < 1 or given.speed <= 0 or given.gpus < 1 or given.network <= 0:
        parser.error("plan: --images, --speed, --gpus and --network are above 0")
    cost = ImageCost.of(_read(given.stages))
    rows = Plan(round(given.images), cost, given.speed, given.gpus, given.network).rows(given.price)
    width = max(map(len, rows))
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows.items()))
    return 0


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", os.pathsep.join(["src", "."]))  # workers of Ray load this package too
    raise SystemExit(main())
