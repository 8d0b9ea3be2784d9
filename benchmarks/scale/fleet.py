"""A thousand workers that are slow, late and taken away, and one queue of blocks: a simulation, event by event.

Nothing of it is measured. What is put in (`Fleet`, `Job`) is measured elsewhere or assumed, and the page says which.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Fleet:
    """Workers. seconds: of an image on a worker of full speed; preempted: times an hour that one is taken away, at any
    moment of its work alike (a Poisson process); restart: seconds until another stands in its place, with its teacher;
    slow, slowness: share of workers that take so many times as long (stragglers).
    """

    workers: int = 1000
    seconds: float = 1 / 200
    preempted: float = 0.0
    restart: float = 300.0
    slow: float = 0.0
    slowness: float = 1.0

    def speeds(self, rng: np.random.Generator) -> list[float]:
        """Seconds of an image on each worker."""
        factors = np.ones(self.workers)
        factors[rng.permutation(self.workers)[: round(self.slow * self.workers)]] = self.slowness
        return [float(value) for value in factors * self.seconds]


@dataclass(frozen=True)
class Job:
    """Images in blocks. block: images of one; begin: seconds that a worker spends on each block beside its images;
    dispatch: seconds of the one process that hands blocks out; kept: images that are written together, and so are not
    done again when a worker is lost, None: the whole block; own: each worker has a share of its own (`--shard I/N`), of
    which the block is a part, instead of a queue for all.
    """

    images: int
    block: int
    begin: float = 0.0
    dispatch: float = 0.0
    kept: int | None = None
    own: bool = False


@dataclass(frozen=True)
class Outcome:
    """wall: seconds until the last block is done; lost: seconds of work that was done again; losses: workers that were
    taken away at work; ideal: seconds of wall time of workers of full speed that never fail, without any cost of
    blocks.
    """

    wall: float
    lost: float
    losses: int
    ideal: float
    busy: float

    def as_json(self) -> dict[str, Any]:
        return {
            "wall_s": round(self.wall, 1),
            "efficiency": round(self.ideal / self.wall, 4),
            "lost": round(self.lost / self.busy, 6),
            "losses": self.losses,
        }


def simulate(fleet: Fleet, job: Job, seed: int = 0) -> Outcome:
    """Run a job once: whoever is free takes the next block; what a lost worker had not kept goes back to the queue."""
    rng = np.random.default_rng(seed)
    speeds = fleet.speeds(rng)
    queues = _make_queues(fleet, job)
    failures = _draw_times(rng, fleet.preempted / 3600)
    free: list[tuple[float, int]] = [(0.0, worker) for worker in range(fleet.workers)]
    handed = wall = lost = busy = 0.0
    losses = 0
    idle: list[int] = []
    waiting: list[tuple[float, int]] = []  # blocks of lost workers, when they come back to the queue
    while free:
        now, worker = heapq.heappop(free)
        queue = queues[worker % len(queues)]
        while waiting and waiting[0][0] <= now:
            queue.appendleft(heapq.heappop(waiting)[1])
        if not queue:  # nothing to do, unless a block comes back
            if waiting:
                heapq.heappush(free, (waiting[0][0], worker))
            else:
                idle.append(worker)
            continue
        images, seconds = queue.popleft(), speeds[worker]
        handed = max(now, handed) + job.dispatch
        duration, failure = job.begin + images * seconds, next(failures)
        if failure >= duration:
            busy += duration
            wall = max(wall, handed + duration)
            heapq.heappush(free, (handed + duration, worker))
            continue
        step = job.kept or images
        kept = min(images - 1, max(0, math.floor((failure - job.begin) / (step * seconds))) * step)
        lost, losses, busy = lost + failure - kept * seconds, losses + 1, busy + failure
        if job.own:
            queue.appendleft(images - kept)
        else:
            heapq.heappush(waiting, (handed + failure, images - kept))
            if idle:
                heapq.heappush(free, (handed + failure, idle.pop()))
        heapq.heappush(free, (handed + failure + fleet.restart, worker))
    return Outcome(wall, lost, losses, job.images * fleet.seconds / fleet.workers, busy)


def _make_queues(fleet: Fleet, job: Job) -> list[deque[int]]:
    """Blocks that wait: one queue for all, or one each."""
    parts = fleet.workers if job.own else 1
    shares = [job.images // parts + (part < job.images % parts) for part in range(parts)]
    return [deque(min(job.block, share - first) for first in range(0, share, job.block)) for share in shares]


def _draw_times(rng: np.random.Generator, rate: float) -> Iterator[float]:
    """Seconds until a worker is taken away, for each attempt anew: a Poisson process has no memory."""
    while rate == 0:
        yield math.inf
    while True:
        yield from rng.exponential(1 / rate, 4096).tolist()


def expect_one_worker(fleet: Fleet, job: Job) -> float:
    """Expected wall time of one worker whose blocks of duration d are lost whole: each takes e^(λd) attempts, and
    (1/λ + restart)·(e^(λd) - 1) beside handing it out.
    """
    rate, duration = fleet.preempted / 3600, job.begin + job.block * fleet.seconds
    blocks = job.images / job.block
    if rate == 0:
        return blocks * (job.dispatch + duration)
    again = math.expm1(rate * duration)
    return blocks * ((1 / rate + fleet.restart) * again + job.dispatch * (again + 1))


def find_first_order_block(fleet: Fleet, job: Job) -> float:
    """Images of the block that wastes least where it is lost whole, to first order: its cost c is paid once a block,
    and a loss costs half a block, so √(2c/λ) of work (Young 1974, on the interval between checkpoints).
    """
    return math.sqrt(2 * (job.begin + job.dispatch) / (fleet.preempted / 3600)) / fleet.seconds
