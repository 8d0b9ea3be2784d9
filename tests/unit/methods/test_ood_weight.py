"""`ood.weight=auto`: when λ is halved, that it is λ of the step, what is kept, and that numbers stay as they were."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from contract.toy import toy_batch, toy_method
from semiovs.engine.guards import Guards, Watched
from semiovs.errors import UsageError
from semiovs.methods import Method, Progress
from semiovs.methods.ood_weight import OodWeight

PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)
AUTO = {"weight": "auto"}


def watch(*scores: float) -> list[float]:
    """λ after each score, from 1."""
    moving, found = OodWeight(1.0), []
    for score in scores:
        moving.watch(score)
        found.append(float(moving.value))
    return found


def test_two_evaluations_in_a_row_three_points_below_the_best_halve_it() -> None:
    assert watch(50, 60, 57, 57) == [1, 1, 1, 0.5]
    assert watch(50, 60, 57.1, 56, 57.1) == [1] * 5
    assert watch(60, 50, 58, 50, 58) == [1] * 5


def test_each_halving_waits_for_two_more() -> None:
    assert watch(60, 50, 50, 50, 50, 50) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert watch(60, 50, 50, 61, 50, 50) == [1, 1, 0.5, 0.5, 0.5, 0.25]


def test_it_acts_when_the_guard_of_held_out_labels_speaks() -> None:
    scores = [40.0, 60.0, 58.0, 56.0, 55.0]
    guards, rows = Guards(Watched(100, "student", arms=["labels", "ood"])), []
    for step, score in enumerate(scores, 1):
        rows += guards.read({"kind": "train", "step": step, "loss": 1 / step})
        told = guards.read({"kind": "held_out", "step": step, "model": "student", "miou": score})
        rows += [(step, note.name) for note in told]
    assert rows == [(5, "held-out-drift")]
    assert watch(*scores) == [1, 1, 1, 1, 0.5]


def run(method: Method) -> Any:
    torch.manual_seed(5)
    return method(toy_batch(method), PROGRESS)


def halve(method: Method) -> None:
    for step, score in enumerate((60.0, 50.0, 50.0)):
        method.after_evaluate({"step": step, "held_out": score})


@pytest.mark.parametrize("name", ["supervised", "unimatch", "unimatch-v2", "prevmatch", "semivl", "ddfp", "allspark"])
def test_auto_starts_as_the_published_weight_and_a_halved_one_is_that_number(name: str) -> None:
    published = 0.5 if name == "semivl" else 1.0
    moving, plain, half = toy_method(name, AUTO), toy_method(name, {}), toy_method(name, {"weight": published / 2})
    a, b = run(moving), run(plain)
    assert a.terms.total().item() == pytest.approx(b.terms.total().item(), rel=1e-6)
    assert float(a.log["ood_weight"]) == published
    assert "ood_weight" not in b.log

    moving = toy_method(name, AUTO)
    halve(moving)
    a, b = run(moving), run(half)
    assert a.terms.total().item() == pytest.approx(b.terms.total().item(), rel=1e-6)
    assert float(sum(w for key, (w, _) in a.terms.items() if key.startswith("ood_"))) == pytest.approx(published / 2)
    assert float(a.log["ood_weight"]) == published / 2


def test_gradients_are_those_of_the_number() -> None:
    methods = toy_method("unimatch", AUTO), toy_method("unimatch", {"weight": 0.5})
    halve(methods[0])
    for method in methods:
        run(method).terms.objective().backward()
    pairs = list(zip(*(m.student.parameters() for m in methods), strict=True))
    assert pairs
    for a, b in pairs:
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-7)


def test_only_held_out_labels_are_heard() -> None:
    method = toy_method("unimatch", AUTO)
    for step, score in enumerate((60.0, 10.0, 10.0, 10.0)):
        method.after_evaluate({"step": step, "miou": score, "miou/student": score, "best": 0.0})
    assert method.moving_ood_weight is not None
    assert float(method.moving_ood_weight.value) == 1
    assert method.watches_held_out
    assert not toy_method("unimatch", {"weight": 1.0}).watches_held_out
    both = toy_method("prevmatch", AUTO)  # its own snapshots are steered by evaluation images
    assert both.steered_by == "val"
    assert both.watches_held_out


def test_the_state_goes_through_a_file_in_the_middle_of_a_watch() -> None:
    one = toy_method("unimatch", AUTO)
    for score in (60.0, 50.0):
        one.after_evaluate({"step": 1, "held_out": score})
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other = toy_method("unimatch", AUTO, seed=9)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.moving_ood_weight is not None
    assert float(other.moving_ood_weight.value) == 1
    other.after_evaluate({"step": 2, "held_out": 50.0})
    assert float(other.moving_ood_weight.value) == 0.5
    added = {*one.state_dict()} - {*toy_method("unimatch", {"weight": 1.0}).state_dict()}
    assert added == {f"moving_ood_weight.{name}" for name in ("value", "best", "behind")}


def test_other_words_are_refused() -> None:
    with pytest.raises(UsageError, match=r"ood\.weight: 'atuo' is not known; give a number, or auto"):
        toy_method("unimatch", {"weight": "atuo"})
