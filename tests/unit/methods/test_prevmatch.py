"""PrevMatch beside its parity and contract: when snapshots are taken, who is asked, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from contract.toy import K, toy_batch, toy_method, toy_segmenter
from semiovs.config.schema import OptimConfig
from semiovs.errors import UsageError
from semiovs.methods import Method, Progress, build_method
from semiovs.methods.draws import Draws
from semiovs.models.convert import load_reference

PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)


def empty(**options: Any) -> Any:
    return build_method("prevmatch", toy_segmenter(), num_classes=K, **options).train()


def unimatch(seed: int = 0) -> Method:
    return toy_method("unimatch", seed=seed)


def test_without_previous_models_it_is_unimatch() -> None:
    ours, theirs = empty(conf_thresh=0.3), unimatch()
    batch = toy_batch(theirs)
    steps = []
    for method in (ours, theirs):
        torch.manual_seed(5)
        steps.append(method(batch, PROGRESS))
    assert list(steps[0].terms) == ["x", "fp", "s1", "s2"]
    assert steps[0].terms.normaliser == 2
    assert steps[0].terms.total().equal(steps[1].terms.total())


def test_previous_models_change_neither_unimatchs_terms_nor_statistics_and_stay_as_they_are() -> None:
    ours: Any = toy_method("prevmatch")
    theirs = unimatch()
    ours.student.load_state_dict(theirs.student.state_dict())
    before = [{k: v.clone() for k, v in s.items()} for s in ours.previous.snapshots]
    batch = toy_batch(theirs)
    steps = []
    for method in (ours, theirs):
        (optimizer,) = method.optimizers(OptimConfig(lr=0.1))
        torch.manual_seed(5)
        steps.append(method(batch, PROGRESS))
        steps[-1].terms.total().backward()
        optimizer.step()
        method.after_step(PROGRESS)
    for name in ("x", "s1", "s2", "fp"):
        assert steps[0].terms[name].value.equal(steps[1].terms[name].value)
    for (name, buffer), other in zip(ours.student.named_buffers(), theirs.student.buffers(), strict=True):
        assert buffer.equal(other), name
    assert all(v.equal(s[k]) for s, kept in zip(ours.previous.snapshots, before, strict=True) for k, v in kept.items())


def test_weights_follow_the_schedule() -> None:
    method = toy_method("prevmatch")
    step = method(toy_batch(method), Progress(step=3, total_steps=10, epoch=1, total_epochs=4))
    assert {k: w for k, (w, _) in step.terms.items() if "prev" in k} == {
        "s1_prev": 0.125, "s2_prev": 0.125, "fp_prev": 0.25,
    }  # fmt: skip
    assert step.terms.normaliser == 2.5
    first = method(toy_batch(method), Progress(step=0, total_steps=10, epoch=0, total_epochs=4))
    assert first.terms.normaliser == 2
    assert step.log["mask_ratio_prev"] > 0


def test_the_paper_s_rule_takes_strictly_better_models_and_not_before_its_time() -> None:
    method = empty(base_only_epoch=2)
    found = []
    for epoch, score in enumerate([50.0, 40.0, 50.0, 51.0, 51.0, 60.0]):
        method.after_step(Progress(epoch, 6, epoch, 6))
        method.after_evaluate({"step": epoch + 1, "miou": 99.0 - epoch, "miou/student": score, "best": 1.0})
        found.append(len(method.previous))
    assert found == [0, 0, 0, 1, 1, 2]
    assert method.previous.best == 60
    method.after_evaluate({"held_out": 100.0})
    assert len(method.previous) == 2
    earlier = empty(base_only_epoch=1)  # the evaluation that ends epoch 0 comes in time for epoch 1
    earlier.after_step(Progress(0, 6, 0, 6))
    earlier.after_evaluate({"miou": 1.0})
    assert len(earlier.previous) == 1


def test_held_out_labels_alone_decide_where_they_are_asked_for() -> None:
    method = empty(prev_snapshot="held-out")
    assert method.steered_by == "held_out"
    method.after_evaluate({"miou": 90.0, "miou/student": 90.0, "best": 1.0})
    assert len(method.previous) == 0
    for score, count in ((10.0, 1), (9.0, 1), (11.0, 2)):
        method.after_evaluate({"step": 1, "held_out": score})
        assert len(method.previous) == count


@pytest.mark.parametrize(("every", "wanted"), [(30, [29, 59, 89]), (None, list(range(4, 100, 5)))])
def test_by_schedule(every: int | None, wanted: list[int]) -> None:
    method = empty(prev_snapshot="schedule", prev_every=every, prev_list_max=100)
    assert method.steered_by is None
    taken = []
    for step in range(100):
        before = len(method.previous)
        method.after_step(Progress(step, 100, 0, 1))
        taken += [step] * (len(method.previous) - before)
        method.after_evaluate({"miou": float(step)})
    assert taken == wanted


def test_the_best_score_survives_a_checkpoint() -> None:
    method = empty()
    method.after_evaluate({"miou": 50.0})
    resumed = empty()
    resumed.load_state_dict(method.state_dict())
    resumed.after_evaluate({"miou": 49.0})
    assert len(resumed.previous) == 1


def test_who_is_asked() -> None:
    draws = Draws()
    torch.manual_seed(0)
    seen = [draws.ensemble(5, 3, vary=True) for _ in range(600)]
    sizes = Counter(len(d) for d in seen)
    assert all(150 < sizes[k] < 250 for k in (1, 2, 3))
    assert all(len({i for i, _ in d}) == len(d) and sum(w for _, w in d) == pytest.approx(1) for d in seen)
    assert {i for d in seen for i, _ in d} == set(range(5))
    shares = torch.tensor([w for d in seen if len(d) == 2 for _, w in d[:1]])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.05)  # Dirichlet(1, 1) is uniform
    assert shares.var().item() == pytest.approx(1 / 12, abs=0.015)
    assert {len(draws.ensemble(5, 3, vary=False)) for _ in range(9)} == {3}
    assert {len(draws.ensemble(2, 3, vary=False)) for _ in range(9)} == {2}
    assert draws.ensemble(1, 3, vary=True) == [(0, 1.0)]


def test_ranks_that_share_a_number_choose_alike_and_leave_other_draws_alone() -> None:
    draws, chosen, after = Draws(), [], []
    for rank in range(2):
        torch.manual_seed(100 + rank)
        chosen.append(draws.ensemble(8, 3, vary=True, seed=7))
        after.append(torch.rand(3))
    torch.manual_seed(100)
    assert torch.rand(3).equal(after[0])
    assert chosen[0] == chosen[1] != draws.ensemble(8, 3, vary=True, seed=2**40)
    assert not after[0].equal(after[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prev_list_max": 0}, r"method\.prev_list_max: 0 must be at least 1"),
        ({"prev_models_max": 0}, r"method\.prev_models_max: 0 must be at least 1"),
        ({"prev_conf_thresh": 1.5}, r"method\.prev_conf_thresh: 1\.5 must be from 0 to 1"),
        ({"base_only_epoch": -1}, r"method\.base_only_epoch: -1 must be at least 0"),
        ({"prev_every": 0}, r"method\.prev_every: 0 must be at least 1"),
        (
            {"prev_weighting": "pixelavrg"},
            r"method\.prev_weighting: 'pixelavrg' is not known \(did you mean 'pixelavg'",
        ),
        ({"prev_snapshot": "heldout"}, r"method\.prev_snapshot: 'heldout' is not known \(did you mean 'held-out'"),
        ({"prev_storage": "disk"}, r"method\.prev_storage: 'disk' is not known \(one of: cpu, device, half"),
        ({"prev_listmax": 8}, r"did you mean 'prev_list_max'"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        empty(**options)


def test_a_published_checkpoint_holds_the_student_alone() -> None:
    """As saved by the reference: `model` with a DDP prefix, optimiser and epoch beside it."""
    source = toy_segmenter(5)
    method = empty()
    method.previous.remember(toy_segmenter(1))
    kept = {k: v.clone() for k, v in method.state_dict().items() if k.startswith("previous.")}
    saved = {
        "model": {f"module.{k}": v for k, v in source.state_dict().items()},
        "optimizer": {"state": {}},
        "epoch": 79,
        "previous_best": 77.0,
    }
    report = load_reference(method, saved, family="prevmatch")
    assert report.ok
    assert len(report.loaded) == len(source.state_dict())
    assert all(v.equal(source.state_dict()[k]) for k, v in method.student.state_dict().items())
    assert all(v.equal(method.state_dict()[k]) for k, v in kept.items())
