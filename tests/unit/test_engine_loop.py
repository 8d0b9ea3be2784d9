import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semiovs.engine.loop import Learner, fit
from semiovs.engine.randomness import make_step_seed
from semiovs.errors import DivergedError
from unit.toy_learner import CPU, ToyMethod, batch_of, batches, learner_of, recipe_of, weights


def train(learner: Learner, recipe=None, *, bad=(), hooks=()) -> Learner:
    recipe = recipe or recipe_of()
    fit(learner, batches(learner.step * recipe.accumulate, bad=bad), recipe, CPU, hooks)
    return learner


def test_step_seed_tells_all_four_numbers_apart():
    seeds = {make_step_seed(a, b, c, d) for a in range(3) for b in range(20) for c in range(3) for d in range(3)}
    assert len(seeds) == 3 * 20 * 3 * 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert make_step_seed(1, 2, 3, 4) == make_step_seed(1, 2, 3, 4)


def test_training_does_not_depend_on_the_generators_state():
    first = train(learner_of())
    torch.rand(17)
    hooks = [lambda learner: torch.manual_seed(5)]
    assert torch.equal(weights(first), weights(train(learner_of(), hooks=hooks)))


def test_another_seed_draws_otherwise():
    assert not torch.equal(weights(train(learner_of())), weights(train(learner_of(), recipe_of(seed=1))))


def test_one_step_by_hand():
    learner, twin = learner_of(), ToyMethod()
    twin.train()
    train(learner, recipe_of(1))
    torch.manual_seed(make_step_seed(0, 0, 0, 0))
    batch = batch_of(0)
    torch.nn.functional.cross_entropy(twin.student(batch.labeled.image), batch.labeled.mask).backward()
    for trained, parameter in zip(learner.method.student.parameters(), twin.student.parameters(), strict=True):
        torch.testing.assert_close(trained, parameter - 0.1 * parameter.grad, rtol=1e-5, atol=1e-7)


def test_accumulation_averages_the_gradients_of_its_micro_steps():
    learner = train(learner_of(), recipe_of(1, accumulate=2))
    twin = ToyMethod()
    twin.train()
    for micro in range(2):
        torch.manual_seed(make_step_seed(0, 0, micro, 0))
        batch = batch_of(micro)
        (torch.nn.functional.cross_entropy(twin.student(batch.labeled.image), batch.labeled.mask) / 2).backward()
    for trained, parameter in zip(learner.method.student.parameters(), twin.student.parameters(), strict=True):
        torch.testing.assert_close(trained, parameter - 0.1 * parameter.grad, rtol=1e-5, atol=1e-7)


def test_clipping_bounds_the_step():
    before = weights(learner_of())
    free, bound = train(learner_of(), recipe_of(1)), train(learner_of(), recipe_of(1, clip_norm=1e-4))
    student = sum(p.numel() for p in free.method.student.parameters())
    assert student > 0
    moved = torch.cat([p.detach().flatten() for p in bound.method.student.parameters()])
    start = torch.cat([p.detach().flatten() for p in ToyMethod().student.parameters()])
    assert float((moved - start).norm()) == pytest.approx(0.1 * 1e-4, rel=1e-3)
    assert not torch.equal(before, weights(free))


def test_the_meter_averages_each_reading_over_the_steps_that_had_it():
    learner = train(learner_of(), recipe_of(5))
    row = learner.meter.read(CPU)
    assert set(row) == {"loss", "term/x", "term/odd", "log/confident", "grad_norm"}
    assert row["loss"] == pytest.approx(row["term/x"] + 0.5 * row["term/odd"] * 2 / 5, rel=1e-5)
    assert learner.meter.read(CPU) == {}


def test_a_gradient_scaler_trains_like_none_and_changes_its_scale():
    plain, scaled = train(learner_of()), train(learner_of(scaler=True))
    torch.testing.assert_close(weights(plain), weights(scaled), rtol=1e-4, atol=1e-5)
    assert scaled.scaler.get_scale() == 2.0**10


def test_not_finite_stops_at_once_and_names_step_and_terms():
    learner = learner_of()
    with pytest.raises(
        DivergedError, match=r"step 3: not finite: loss, term/x, term/odd, log/confident, grad_norm"
    ) as error:
        train(learner, bad=(3,))
    assert error.value.exit_code == 5
    assert learner.step == 3
    assert torch.isfinite(torch.cat([p.flatten() for p in learner.method.parameters()])).all()


def test_skip_undoes_the_step_and_its_batchnorm_statistics():
    learner = train(learner_of(policy="skip"), bad=(3,))
    assert learner.step == 8
    assert learner.guard.skipped == 1
    assert torch.isfinite(weights(learner)).all()
    assert all(math.isfinite(value) for value in learner.meter.read(CPU).values())


def test_skip_gives_up_after_too_many_in_a_row():
    learner = learner_of(policy="skip", max_skipped=2)
    with pytest.raises(DivergedError, match="step 5"):
        train(learner, bad=(3, 4, 5))
    assert learner.guard.skipped == 2
    train(learner_of(policy="skip", max_skipped=2), bad=(1, 2, 4, 5))


def test_a_poisoned_buffer_is_found_before_a_checkpoint():
    learner = learner_of()
    learner.method.student[1].running_var[0] = math.nan
    with pytest.raises(DivergedError, match="nothing was saved"):
        learner.guard.check_weights(learner.method)


class Synchronisations(TorchDispatchMode):
    """Counts what would make the host wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"}:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_the_hot_loop_reads_nothing_from_the_device(monkeypatch):
    learner = learner_of()
    monkeypatch.setattr(learner.guard, "check", lambda: None)  # which the CPU alone does at every step
    with Synchronisations() as seen:
        assert float(torch.ones(())) == 1
        train(learner, recipe_of(4, accumulate=2, clip_norm=1.0))
    assert seen.found == ["_local_scalar_dense"]
