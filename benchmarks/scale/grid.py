"""The fleets and jobs that docs/scale.md shows: how long a thousand workers that fail take, by the size of a block."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.scale.fleet import Fleet, Job, find_first_order_block, simulate
from benchmarks.scale.plan import ASSUMED_SPEED
from semiovs.clusters.ray_blocks import BLOCK

IMAGES, WORKERS = 10**9, 1000
#: Times an hour that a worker is taken away.
RATES = (0.0, 1 / 24, 1 / 4, 1.0)
#: Images of what is handed out at once; 15,625: those of a task of Ray here.
BLOCKS = (2_000, 4_000, 15_625, 31_250, 62_500, 125_000, 250_000)
#: Smaller blocks are simulated once, which takes most of the time; and only for several commands that keep labels.
_ONCE, _SMALL = 20_000, 15_000
#: Commands (`--shard I/N`) that the workers are divided among; a share for each worker is the last scheme.
COMMANDS = (1, 10)
#: Labels of so many images are written together (`--batch-size` of a GPU).
KEPT = 8
#: Assumed, measured nowhere: seconds until a lost worker is replaced, share of slow workers, how slow.
RESTART, SLOW, SLOWNESS = 300.0, 0.02, 3.0


@dataclass(frozen=True)
class Dispatch:
    """CPU seconds of the process that hands out, measured: of a task of Ray, and of each block of so many images."""

    task: float
    block: float
    images: int = BLOCK

    def seconds(self, images: int) -> float:
        """Of a task of so many images."""
        return self.task + images / self.images * self.block


def run(dispatch: Dispatch, seeds: int = 3, images: int = IMAGES, workers: int = WORKERS) -> dict[str, Any]:
    """Simulate all of them."""
    begin = time.process_time()
    fleet = Fleet(workers, 1 / ASSUMED_SPEED, restart=RESTART, slow=SLOW, slowness=SLOWNESS)
    rows = [
        _row(replace(fleet, preempted=rate), job, 1 if job.block < _ONCE else seeds)
        for rate in RATES
        for job in list_jobs(dispatch, images, workers)
        if rate or job.kept  # where nothing fails, nothing is kept
    ]
    best = [_find_best(rows, rate, kept) for rate in RATES for kept in (KEPT, None) if rate or kept]
    young = {
        f"{rate:.4g}": round(
            find_first_order_block(replace(fleet, preempted=rate), Job(images, 1, begin=dispatch.task))
        )
        for rate in RATES
        if rate
    }
    assumed = {
        "images": images,
        "workers": workers,
        "images_per_second": ASSUMED_SPEED,
        "restart_s": RESTART,
        "slow": SLOW,
        "slowness": SLOWNESS,
        "kept": KEPT,
    }
    return {
        "assumed": assumed,
        "measured": asdict(dispatch),
        "ideal_s": images / ASSUMED_SPEED / workers,
        "rows": rows,
        "best": best,
        "first_order_block": young,
        "seeds": seeds,
        "cpu_s": round(time.process_time() - begin, 1),
    }


def list_jobs(dispatch: Dispatch, images: int, workers: int) -> list[Job]:
    """Queues of blocks of all sizes, for one command and for several; then a share for each worker."""
    share = images // workers
    blocks = [block for block in BLOCKS if block < share]
    queues = [
        Job(images, block, dispatch=dispatch.seconds(block), kept=kept, parts=parts)
        for parts in COMMANDS
        for kept in (KEPT, None)
        for block in blocks
        if block >= _SMALL or (parts > 1 and kept)
    ]
    return [*queues, *(Job(images, share, kept=kept, parts=workers) for kept in (KEPT, None))]


def _row(fleet: Fleet, job: Job, seeds: int) -> dict[str, Any]:
    found = [simulate(fleet, job, seed) for seed in range(seeds)]
    walls = [outcome.wall for outcome in found]
    told = [outcome.as_json() for outcome in found]
    return {
        "preempted": round(fleet.preempted, 4),
        "block": job.block,
        "commands": job.parts,
        "kept": job.kept,
        "wall_s": round(statistics.fmean(walls), 1),
        "lowest_s": round(min(walls), 1),
        "highest_s": round(max(walls), 1),
        "efficiency": round(found[0].ideal / statistics.fmean(walls), 4),
        "lost": round(statistics.fmean(row["lost"] for row in told), 6),
        "losses": round(statistics.fmean(row["losses"] for row in told), 1),
        "seeds": seeds,
    }


def _find_best(rows: list[dict[str, Any]], rate: float, kept: int | None) -> dict[str, Any]:
    """The size of blocks with the shortest wall time, with several commands."""
    wanted = (round(rate, 4), kept, COMMANDS[-1])
    of_rate = [row for row in rows if (row["preempted"], row["kept"], row["commands"]) == wanted]
    best = min(of_rate, key=lambda row: row["wall_s"])
    return {key: best[key] for key in ("preempted", "kept", "block", "wall_s", "efficiency")}
