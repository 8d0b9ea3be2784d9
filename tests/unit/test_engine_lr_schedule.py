from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from semiovs.config.schema import OptimConfig
from semiovs.engine.lr_schedule import Schedule, compute_lr_scale

GOLDENS = Path(__file__).parent.parent / "parity" / "goldens" / "deeplab" / "functions.npz"


def test_poly_is_the_published_schedule_with_its_lag():
    with np.load(GOLDENS) as recorded:
        used = recorded["poly_lr/used_at_step_0_1_2_500_999"]
    schedule = Schedule(1000)
    ours = [0.001 * schedule.factor(step) for step in (0, 1, 2, 500, 999)]
    np.testing.assert_allclose(ours, used, rtol=1e-12)
    assert ours[0] == ours[1] == 0.001


def test_without_lag_the_rate_falls_at_once_and_never_reaches_zero():
    schedule = Schedule(10, lag=0)
    factors = [schedule.factor(step) for step in range(10)]
    assert factors[0] == 1.0
    assert all(a > b > 0 for a, b in pairwise(factors))


def test_apply_sets_each_group_from_its_own_base_whatever_it_was_before():
    weight = torch.nn.Parameter(torch.zeros(1))
    other = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [other], "lr": 1.0}], lr=0.5)
    schedule = Schedule(100, power=1.0, lag=0)
    for step in (50, 7, 25):
        schedule.apply([optimizer], step)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.075, 0.75])
    Schedule(100, "constant").apply([optimizer], 99)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 1.0]


def test_linear_scaling():
    assert compute_lr_scale(OptimConfig(), 64) == 1.0
    assert compute_lr_scale(OptimConfig(lr_batch_size=16), 8) == 0.5


def test_a_group_with_a_rate_of_its_own_falls_by_epochs():
    weight, other = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    student = torch.optim.SGD([{"params": [weight], "lr": 0.1}])
    flow = torch.optim.Adam([{"params": [other], "lr": 1e-3, "final_factor": 0.01}])
    schedule = Schedule(40, lag=0, steps_per_epoch=10)
    rates = []
    for step in (0, 9, 10, 39, 0):
        schedule.apply([student, flow], step)
        rates.append(flow.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3 * 0.01**0.25, 1e-3 * 0.01**0.75, 1e-3])
    schedule.apply([student, flow], 20)
    assert student.param_groups[0]["lr"] == pytest.approx(0.1 * schedule.factor(20))
