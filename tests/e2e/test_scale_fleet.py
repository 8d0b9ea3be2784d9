"""The simulation of workers that fail, against what is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.scale.fleet import Fleet, Job, expect_one_worker, find_first_order_block, simulate


@pytest.mark.parametrize("workers", [1, 7, 40])
def test_without_failures_it_is_exact(workers):
    fleet, job = Fleet(workers, seconds=0.01), Job(40 * 7 * 50, block=50, begin=2.0)
    rounds = -(-40 * 7 // workers)
    found = simulate(fleet, job)
    assert found.wall == pytest.approx(rounds * (2.0 + 50 * 0.01))
    assert (found.lost, found.losses) == (0, 0)
    assert found.ideal == pytest.approx(40 * 7 * 50 * 0.01 / workers)
    assert simulate(fleet, replace(job, parts=fleet.workers)).wall == pytest.approx(rounds * 2.5), "as many blocks each"


def test_who_hands_out_blocks_can_be_the_bottleneck():
    fleet, job = Fleet(workers=100, seconds=0.01), Job(1000 * 32, block=32, dispatch=0.02)
    assert simulate(fleet, job).wall == pytest.approx(1000 * 0.02 + 0.32), "faster than 100 workers of 0.32 s a block"


@pytest.mark.parametrize(("rate", "restart", "dispatch"), [(2.0, 0.0, 0.0), (6.0, 120.0, 0.0), (20.0, 30.0, 1.5)])
def test_one_worker_that_fails_takes_as_long_as_expected(rate, restart, dispatch):
    fleet = Fleet(workers=1, seconds=0.1, preempted=rate, restart=restart)
    job = Job(4000 * 3000, block=3000, begin=10.0, dispatch=dispatch)
    walls = [simulate(fleet, job, seed).wall for seed in range(10)]
    error = np.std(walls, ddof=1) / np.sqrt(len(walls))
    assert abs(np.mean(walls) - expect_one_worker(fleet, job)) < 4 * error
    assert error < 0.02 * np.mean(walls), "else it would prove nothing"


def test_what_is_kept_is_not_done_again():
    fleet = Fleet(workers=50, seconds=0.1, preempted=6.0, restart=60.0)
    job = Job(50 * 20 * 2000, block=2000, begin=1.0)
    whole, kept = simulate(fleet, job), simulate(fleet, replace(job, kept=8))
    for found, most in ((whole, 1.0 + 2000 * 0.1), (kept, 1.0 + 8 * 0.1)):
        assert 0 < found.lost <= found.losses * most
    assert kept.wall < whole.wall
    assert kept.busy - kept.lost == pytest.approx(50 * 20 * 2000 * 0.1, rel=0.01), "each image is labelled once"
    assert whole.busy - whole.lost == pytest.approx(50 * 20 * (1.0 + 2000 * 0.1)), "and so is each block"


def test_a_queue_evens_out_slow_workers_and_shares_do_not():
    fleet = Fleet(workers=100, seconds=0.01, slow=0.05, slowness=4.0)
    job = Job(100 * 10_000, block=100)
    assert simulate(fleet, replace(job, parts=fleet.workers)).wall == pytest.approx(4 * 100)
    work = 100 / (0.95 + 0.05 / 4)
    assert work <= simulate(fleet, job).wall <= work + 4 * 1.0 + 1.0


def test_the_same_seed_gives_the_same_outcome():
    fleet, job = Fleet(workers=20, preempted=60.0, slow=0.1, slowness=3.0), Job(10**6, block=5000, begin=0.5)
    assert simulate(fleet, job, 3) == simulate(fleet, job, 3)
    assert simulate(fleet, job, 3) != simulate(fleet, job, 4)


def test_the_first_order_block_is_where_one_worker_wastes_least():
    fleet, job = Fleet(workers=1, seconds=0.01, preempted=1.0, restart=0.0), Job(10**9, block=1, begin=4.0)
    best = find_first_order_block(fleet, job)
    costs = {block: expect_one_worker(fleet, replace(job, block=block)) for block in range(1000, 60000, 250)}
    assert min(costs, key=costs.__getitem__) == pytest.approx(best, rel=0.05)
