"""What every method must do (`semiovs.testing`), and what some of ours do beyond that."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from contract.toy import ARMS, METHOD_NAMES, toy_batch, toy_method
from semiovs.errors import UsageError
from semiovs.methods import Progress
from semiovs.testing import method_checks
from semiovs.testing.method_contract import PROGRESS, run

method_names = pytest.mark.parametrize("name", METHOD_NAMES)

#: Checks that do not hold of a method of ours.
SKIPPED = {"ddfp": ("normaliser_is_the_sum_of_weights",)}  # a plain sum, see below
CHECKS = [
    pytest.param(check, id=f"{name}-{check}")
    for name in METHOD_NAMES
    for check in method_checks(name, build=partial(toy_method, name), skip=SKIPPED.get(name, ()))
]


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check: Any) -> None:
    check()


@pytest.mark.parametrize("arm", ARMS)
def test_the_total_of_ddfp_is_a_plain_sum(arm: str) -> None:
    """x + u is twice the mean."""
    terms = run(m := toy_method("ddfp", ARMS[arm]), toy_batch(m)).terms
    assert 2 * terms.normaliser == pytest.approx(sum(w for w, _ in terms.values()))


@method_names
def test_only_averaged_and_untrained_copies_are_frozen(name: str) -> None:
    parameters = dict(toy_method(name, ema_decay=0.9).named_parameters())
    frozen = {key for key, p in parameters.items() if not p.requires_grad}
    assert frozen == {key for key in parameters if key.startswith(("ema.", "guide."))}


@method_names
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'class_weights'"):
        toy_method(name, class_weigths=[1.0])
    with pytest.raises(UsageError, match="2 numbers for 4 classes"):
        toy_method(name, class_weights=[1.0, 2.0])
    with pytest.raises(UsageError, match="must not be negative"):
        toy_method(name, class_weights=[1.0, 1.0, 1.0, -1.0])
    with pytest.raises(UsageError, match="class_weights: auto is measured"):
        toy_method(name, class_weights="auto")
    with pytest.raises(UsageError, match=r"ema_decay: 7"):
        toy_method(name, ema_decay=7)
    with pytest.raises(UsageError, match="normalise: 'glob' is not known"):
        toy_method(name, normalise="glob")
    with pytest.raises(UsageError, match="did you mean 'naive'"):
        toy_method(name, {"mode": "naiv"})


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


def test_supervised_with_ood_leaves_unlabelled_images_alone():
    """No patch is pasted from them, even where a batch brings them (design, OOD semantics)."""
    batch = toy_batch(toy_method("unimatch", {"weight": 1.0}))
    bare = replace(batch, unlabeled=None, mixing=None)
    with_u, without = (toy_method("supervised", {"weight": 1.0})(b, PROGRESS).terms for b in (batch, bare))
    assert with_u.total().item() == pytest.approx(without.total().item(), rel=1e-6)
    assert with_u.normaliser == 2
