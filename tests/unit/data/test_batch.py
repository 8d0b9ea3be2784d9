"""`Batch.map` and `Target.map` reach every tensor and lose none."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from contract.toy import K, toy_batch, toy_method
from semiovs.methods import Target
from semiovs.methods.maths import Threshold


def leaves(value: Any, name: str) -> dict[str, Tensor]:
    """Every tensor in a dataclass, by the path of its fields."""
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, tuple):
        items = [(f"{name}.{i}", item) for i, item in enumerate(value)]
    else:
        items = [(f"{name}.{f.name}", getattr(value, f.name)) for f in fields(value)] if is_dataclass(value) else []
    return {path: tensor for key, item in items for path, tensor in leaves(item, key).items()}


def whole_target() -> Target:
    torch.manual_seed(0)
    label, valid = torch.randint(0, K, (2, 4, 4)), torch.rand(2, 4, 4) > 0.3
    return Target(label, torch.rand(2, 4, 4), valid, weight=torch.rand(2, 4, 4), probability=torch.rand(2, 4, 4))


@pytest.mark.parametrize("kind", ["target", "batch"])
def test_every_field_survives(kind: str) -> None:
    value = whole_target() if kind == "target" else toy_batch(toy_method("unimatch", {}))
    before, after = leaves(value, kind), leaves(value.map(lambda t: t.flip(0)), kind)
    assert len(before) == {"target": len(fields(Target)), "batch": 20}[kind]
    assert list(before) == list(after)
    assert all(after[path].equal(tensor.flip(0)) for path, tensor in before.items())


def test_a_target_without_weights_stays_without() -> None:
    label = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert Target(label, torch.ones(1, 2, 2), label == 0).map(torch.clone).weight is None


def test_the_loss_of_a_mapped_target_is_that_of_its_pixels() -> None:
    """The weight stays with its pixel."""
    target, logits = whole_target(), torch.randn(2, K, 4, 4)
    for τ in (Threshold(0.0), Threshold(0.5)):
        mapped = target.map(lambda t: t.flip(0)).loss(logits.flip(0), τ)
        torch.testing.assert_close(mapped, target.loss(logits, τ))


def test_earlier_names_of_partners():
    import semiovs.data

    assert semiovs.data.flipped is semiovs.data.take_mirrored
    assert semiovs.data.followed is semiovs.data.take_next
