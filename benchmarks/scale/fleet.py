"""A thousand workers that are slow, late and taken away, and one queue of blocks: a simulation, event by event.

Nothing of it is measured. What is put in (`Fleet`, `Job`) is measured elsewhere or assumed, and the page says which.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence
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
    done again when a worker is lost, None: the whole block; parts: commands (`--shard I/N`), each with an equal part of
    the images and of the workers, a queue, and a process that hands out; as many as workers: a share for each.
    """

    images: int
    block: int
    begin: float = 0.0
    dispatch: float = 0.0
    kept: int | None = None
    parts: int = 1


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
    """Run a job once."""
    rng = np.random.default_rng(seed)
    speeds, failures = fleet.speeds(rng), _draw_times(rng, fleet.preempted / 3600)
    share, more = divmod(job.images, job.parts)
    found = [
        _run_queue(speeds[part :: job.parts], share + (part < more), job, fleet.restart, failures)
        for part in range(job.parts)
    ]
    return Outcome(
        wall=max(part.wall for part in found),
        lost=sum(part.lost for part in found),
        losses=sum(part.losses for part in found),
        busy=sum(part.busy for part in found),
        ideal=job.images * fleet.seconds / fleet.workers,
    )


@dataclass
class _QueueRun:
    """What became of one queue: time of its last block; seconds of work, in all and done again; workers lost."""

    wall: float = 0.0
    lost: float = 0.0
    busy: float = 0.0
    losses: int = 0


def _run_queue(speeds: Sequence[float], images: int, job: Job, restart: float, failures: Iterator[float]) -> _QueueRun:
    """Whoever is free takes the next block; what a lost worker had not kept comes back to the queue."""
    queue = deque(min(job.block, images - first) for first in range(0, images, job.block))
    free = [(0.0, worker) for worker in range(len(speeds))]
    back: list[tuple[float, int]] = []  # when blocks of lost workers come back
    idle: list[int] = []
    done, handed = _QueueRun(), 0.0
    while free:
        now, worker = heapq.heappop(free)
        while back and back[0][0] <= now:
            queue.appendleft(heapq.heappop(back)[1])
        if not queue and back:
            heapq.heappush(free, (back[0][0], worker))
        if not queue and not back:
            idle.append(worker)
        if not queue:
            continue
        block, seconds = queue.popleft(), speeds[worker]
        handed = max(now, handed) + job.dispatch
        duration, failure = job.begin + block * seconds, next(failures)
        end = handed + min(duration, failure)
        done.busy += end - handed
        if failure >= duration:
            done.wall = max(done.wall, end)
            heapq.heappush(free, (end, worker))
            continue
        kept = _count_kept(job, block, (failure - job.begin) / seconds)
        done.lost, done.losses = done.lost + failure - kept * seconds, done.losses + 1
        heapq.heappush(back, (end, block - kept))
        heapq.heappush(free, (end + restart, worker))
        if idle:
            heapq.heappush(free, (end, idle.pop()))
    return done


def _count_kept(job: Job, block: int, images: float) -> int:
    """Images of a block that need not be done again after so many of them."""
    step = job.kept or block
    return min(block - 1, max(0, math.floor(images / step)) * step)


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
