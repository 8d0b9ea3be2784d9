"""What every method must do, alone, with the OOD stream, and with its naive twin."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contract.toy import ARMS, METHOD_NAMES, K, toy_batch, toy_method
from semiovs.config.schema import OptimConfig
from semiovs.data import Batch
from semiovs.errors import UsageError
from semiovs.methods import Method, Progress, Step

PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)
every = pytest.mark.parametrize("arm", list(ARMS))
method_names = pytest.mark.parametrize("name", METHOD_NAMES)


def run(method: Method, batch: Batch, seed: int = 5) -> Step:
    torch.manual_seed(seed)
    return method(batch, PROGRESS)


def tensors(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []
    batch.map(lambda t: found.append(t) or t)  # type: ignore[func-returns-value]
    return found


@method_names
@every
def test_finite_and_deterministic(name: str, arm: str) -> None:
    first, second = (run(m := toy_method(name, ARMS[arm]), toy_batch(m)) for _ in range(2))
    assert torch.isfinite(first.terms.total())
    assert first.terms.total().equal(second.terms.total())
    for key, (_, value) in first.terms.items():
        assert value.ndim == 0
        assert value.equal(second.terms[key].value)


@method_names
@every
def test_total_is_the_paper_s_formula(name: str, arm: str) -> None:
    step = run(m := toy_method(name, ARMS[arm]), toy_batch(m))
    by_hand = sum(w * v for w, v in step.terms.values()) / step.terms.normaliser
    by_hand = by_hand + sum(w * v for w, v in step.terms.extras.values())
    torch.testing.assert_close(step.terms.total(), by_hand)
    parts = 2 if name == "ddfp" else 1  # a plain sum, x + u: twice the mean
    assert parts * step.terms.normaliser == pytest.approx(sum(w for w, _ in step.terms.values()))


@method_names
@every
def test_every_trained_parameter_gets_a_gradient(name: str, arm: str) -> None:
    method = toy_method(name, ARMS[arm], ema_decay=0.9)
    run(method, toy_batch(method)).terms.objective().backward()
    for key, parameter in method.named_parameters():
        if key.startswith(("ema.", "guide.")):
            assert parameter.grad is None
            assert not parameter.requires_grad
        else:
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key
    trained = {id(p) for o in method.optimizers(OptimConfig()) for g in o.param_groups for p in g["params"]}
    assert trained == {id(p) for p in method.parameters() if p.requires_grad}


@method_names
@every
def test_the_batch_is_not_changed(name: str, arm: str) -> None:
    method = toy_method(name, ARMS[arm])
    batch = toy_batch(method)
    before = [t.clone() for t in tensors(batch)]
    run(method, batch).terms.total().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(batch), strict=True))


@method_names
@every
def test_modes_are_restored(name: str, arm: str) -> None:
    method = toy_method(name, ARMS[arm])
    method.student.backbone.eval()  # a frozen encoder stays as the user set it
    modes = {key: m.training for key, m in method.named_modules()}
    run(method, toy_batch(method))
    assert modes == {key: m.training for key, m in method.named_modules()}


@method_names
def test_the_ood_stream_adds_no_state(name: str) -> None:
    keys = [set(toy_method(name, ood).state_dict()) for ood in ARMS.values()]
    assert keys[0] == keys[1] == keys[2]


@method_names
@every
def test_state_round_trip_continues_bit_for_bit(name: str, arm: str) -> None:
    """Two steps in one go equal one step, a save through a file, and one more step in a fresh method."""

    def advance(method: Method, optimizers: list[torch.optim.Optimizer], number: int) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        run(method, toy_batch(method, seed=number), seed=number).terms.objective().backward()
        for optimizer in optimizers:
            optimizer.step()
        method.after_step(replace(PROGRESS, step=number))

    def build(seed: int) -> tuple[Method, list[torch.optim.Optimizer]]:
        method = toy_method(name, ARMS[arm], seed=seed, ema_decay=0.5)
        return method, method.optimizers(OptimConfig(lr=0.01))

    straight, optimizers = build(0)
    advance(straight, optimizers, 1)
    file = io.BytesIO()
    torch.save({"method": straight.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}, file)
    advance(straight, optimizers, 2)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed, other = build(99)
    resumed.load_state_dict(saved["method"])
    for optimizer, state in zip(other, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    advance(resumed, other, 2)
    for key, value in straight.state_dict().items():
        assert value.equal(resumed.state_dict()[key]), key


@method_names
def test_the_naive_arm_differs_in_labels_alone(name: str) -> None:
    """Same batch, same draws: the arms run the same passes; only the OOD targets differ."""
    ovs, naive = toy_method(name, ARMS["ovs"]), toy_method(name, ARMS["naive"])
    batch = toy_batch(ovs)
    a, b = run(ovs, batch), run(naive, batch)
    assert list(a.terms) == list(b.terms)
    assert a.terms.normaliser == b.terms.normaliser
    for key in a.terms:
        assert a.terms[key].weight == b.terms[key].weight
        if not key.startswith("ood_"):
            assert a.terms[key].value.equal(b.terms[key].value), key
    assert not a.pseudo["ood"].label.equal(b.pseudo["ood"].label)
    assert a.pseudo["ood"].valid.equal(b.pseudo["ood"].valid)
    for key, value in ovs.state_dict().items():
        assert value.equal(naive.state_dict()[key]), key  # BatchNorm statistics: the same forwards happened


@method_names
def test_the_naive_arm_reads_no_label_of_the_batch(name: str) -> None:
    """Its labels and confidences are the method's own; of the batch it takes images and valid pixels alone."""
    naive = {"weight": 1.0, "mode": "naive"}
    batch = toy_batch(toy_method(name, naive))
    assert batch.ood is not None
    label, confidence = (batch.ood.label + 1) % K, 1 - batch.ood.confidence
    other = replace(batch, ood=replace(batch.ood, label=label, confidence=confidence))
    for confidence_of in ("ones", "score", "calibrated"):
        first, second = (run(toy_method(name, {**naive, "confidence": confidence_of}), b) for b in (batch, other))
        assert first.terms.total().equal(second.terms.total())
        assert first.pseudo["ood"].weight is None
    fewer = replace(batch, ood=replace(batch.ood, valid=batch.ood.valid & (batch.ood.label != 0)))
    assert run(toy_method(name, naive), fewer).pseudo["ood"].valid.equal(fewer.ood.valid)  # type: ignore[union-attr]


@method_names
def test_ood_images_in_the_shared_pass(name: str) -> None:
    """`step` returns what the first pass says of the OOD images it was given, and nothing where it shares no pass."""
    method = toy_method(name)
    batch = toy_batch(toy_method(name, ARMS["ovs"]), count=3)
    assert batch.ood is not None
    torch.manual_seed(5)
    if not method.shares_pass:
        assert method.step(batch, PROGRESS).shared.clean is None
        return
    alone = method.step(batch, PROGRESS).shared
    shared = method.step(batch, PROGRESS, (batch.ood.weak[:2],)).shared
    assert (alone.clean, alone.terms) == (None, {})
    assert shared.clean is not None
    assert {*shared.terms} <= {*method.consistency}
    for logits in (shared.clean, *shared.terms.values()):
        assert logits.shape == (2, K, *batch.ood.weak.shape[-2:])


@method_names
def test_ood_weights_sum_to_lambda(name: str) -> None:
    step = run(m := toy_method(name, {"weight": 0.6}), toy_batch(m))
    assert sum(w for key, (w, _) in step.terms.items() if key.startswith("ood_")) == pytest.approx(0.6)


@method_names
@pytest.mark.parametrize("precision", [torch.bfloat16])
def test_autocast_gives_gradients_close_to_float32(name: str, precision: torch.dtype) -> None:
    """The labelling pass under no_grad must not starve the training passes of the weights' gradients."""
    gradients: list[Tensor] = []
    for enabled in (False, True):
        method = toy_method(name, ARMS["ovs"])
        with torch.autocast("cpu", dtype=precision, enabled=enabled):
            loss = run(method, toy_batch(method)).terms.total()
        loss.backward()
        assert all(p.grad is not None for p in method.student.parameters())
        last = [p for key, p in method.student.named_parameters() if key.endswith("classifier.weight")]
        gradients.append(last[0].grad.flatten())  # type: ignore[union-attr]
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


@method_names
@every
def test_batch_of_one(name: str, arm: str) -> None:
    method = toy_method(name, ARMS[arm], norm="group")
    batch = replace(toy_batch(method, count=1), mixing=None)
    assert torch.isfinite(run(method, batch).terms.total())


@method_names
@every
def test_nothing_labelled_nothing_valid_is_zero_not_nan(name: str, arm: str) -> None:
    method = toy_method(name, ARMS[arm])
    batch = toy_batch(method)

    def void(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bool:
            return torch.zeros_like(tensor)
        return torch.full_like(tensor, 255) if tensor.dtype == torch.int64 and tensor.shape[-1] > 4 else tensor

    total = run(method, batch.map(void)).terms.total()
    total.backward()
    assert total.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", [n for n in METHOD_NAMES if n not in ("supervised", "corrmatch")])
def test_thresholds_per_class(name: str) -> None:
    """One number a class, all equal, is the one number; a class at 2 is never believed."""
    one, many = toy_method(name, conf_thresh=0.4), toy_method(name, conf_thresh=[0.4] * K)
    batch = toy_batch(one)
    assert run(one, batch).terms.total().equal(run(many, batch).terms.total())
    never = run(toy_method(name, conf_thresh=[2.0] * K), batch)
    # those of the previous models have a threshold of their own
    own = [key for key in never.terms if key not in ("x", "flow") and not key.endswith("_prev")]
    assert all(never.terms[key].value == 0 for key in own)


@method_names
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'class_weights'"):
        toy_method(name, class_weigths=[1.0])
    with pytest.raises(UsageError, match="2 numbers for 4 classes"):
        toy_method(name, class_weights=[1.0, 2.0])
    with pytest.raises(UsageError, match="must not be negative"):
        toy_method(name, class_weights=[1.0, 1.0, 1.0, -1.0])
    with pytest.raises(UsageError, match=r"ema_decay: 7"):
        toy_method(name, ema_decay=7)
    with pytest.raises(UsageError, match="normalise: 'glob' is not known"):
        toy_method(name, normalise="glob")
    with pytest.raises(UsageError, match="did you mean 'naive'"):
        toy_method(name, {"mode": "naiv"})


@method_names
def test_a_batch_that_lacks_a_stream_is_refused(name: str) -> None:
    method = toy_method(name, ARMS["ovs"])
    with pytest.raises(UsageError, match="brings no"):
        run(method, replace(toy_batch(method), ood=None))


def test_the_published_confidence_is_one_whatever_the_store_says() -> None:
    method = toy_method("unimatch", {"weight": 1.0}, conf_thresh=0.9)
    batch = toy_batch(method)
    assert batch.ood is not None
    zero = replace(batch, ood=replace(batch.ood, confidence=torch.zeros_like(batch.ood.confidence)))
    fp = run(copy.deepcopy(method), batch).terms["ood_fp"].value
    assert fp > 0
    assert run(copy.deepcopy(method), zero).terms["ood_fp"].value.equal(fp)
    scored = toy_method("unimatch", {"weight": 1.0, "confidence": "score"}, conf_thresh=0.9)
    assert run(scored, zero).terms["ood_fp"].value == 0


def test_ema_teacher_follows() -> None:
    method = toy_method("unimatch", ema_decay=0.9)
    assert set(method.models()) == {"student", "ema"}
    with torch.no_grad():
        for p in method.student.parameters():
            p += 1.0
    before = {k: v.clone() for k, v in method.ema.state_dict().items()}  # type: ignore[union-attr]
    method.after_step(Progress(step=99, total_steps=100))
    for key, value in method.ema.state_dict().items():  # type: ignore[union-attr]
        student = method.student.state_dict()[key]
        expected = 0.9 * before[key] + 0.1 * student if value.is_floating_point() else student
        torch.testing.assert_close(value, expected)
    method.after_step(Progress(step=0, total_steps=100))
    assert all(v.equal(method.student.state_dict()[k]) for k, v in method.ema.state_dict().items())  # type: ignore[union-attr]
    method.train()
    assert not any(m.training for m in method.ema.modules())  # type: ignore[union-attr]


def test_ood_pastes_the_views_before_they_are_mixed(monkeypatch: Any) -> None:
    """The strong OOD images hold the *un-mixed* in-distribution views inside the boxes."""
    import semiovs.methods.ood as ood

    seen: list[tuple[Tensor, Tensor]] = []
    original = ood.paste

    def spy(a: Tensor, b: Tensor, boxes: Tensor) -> Tensor:
        seen.append((a, b))
        return original(a, b, boxes)

    monkeypatch.setattr(ood, "paste", spy)
    method = toy_method("unimatch", ARMS["ovs"])
    batch = toy_batch(method)
    run(method, batch)
    assert batch.ood is not None
    assert batch.unlabeled is not None
    for (a, b), o, u in zip(seen, batch.ood.strong, batch.unlabeled.strong, strict=True):
        assert a is o
        assert torch.equal(b, u)


@pytest.mark.parametrize("count", [2, 4])
@method_names
def test_other_numbers_of_ood_images_than_of_unlabelled_ones(name: str, count: int) -> None:
    """`ood.batch_size` is free: partners for the patches are taken in turn."""
    method = toy_method(name, ARMS["ovs"])
    batch = toy_batch(method, count=3)
    more = toy_batch(method, count=count, seed=2)
    step = run(method, replace(batch, ood=more.ood))
    assert torch.isfinite(step.terms.total())
    assert len(step.pseudo["ood"].label) == count


def test_supervised_with_ood_leaves_unlabelled_images_alone():
    """No patch is pasted from them, even where a batch brings them (design, OOD semantics)."""
    batch = toy_batch(toy_method("unimatch", {"weight": 1.0}))
    bare = replace(batch, unlabeled=None, mixing=None)
    with_u, without = (toy_method("supervised", {"weight": 1.0})(b, PROGRESS).terms for b in (batch, bare))
    assert with_u.total().item() == pytest.approx(without.total().item(), rel=1e-6)
    assert with_u.normaliser == 2
