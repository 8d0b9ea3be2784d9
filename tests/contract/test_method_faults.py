"""`check_method` finds a fault, and says which check found it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from semiovs.errors import UsageError
from semiovs.methods import Terms
from semiovs.methods.fixmatch import FixMatch
from semiovs.testing import check_method, method_checks


class Faulty(FixMatch):
    """FixMatch with one fault."""

    def __init__(self, segmenter, *, num_classes: int, fault: str = "", **options) -> None:
        super().__init__(segmenter, num_classes=num_classes, **options)
        self.fault, self.calls = fault, 0
        if fault == "unused":
            self.spare = nn.Linear(1, 1)
        if fault == "ood state" and self.ood is not None:
            self.register_buffer("seen", torch.zeros(1))

    def step(self, batch, *arguments, **keywords):
        if self.fault == "needs more":
            raise RuntimeError("no such thing\nand more")
        step = super().step(batch, *arguments, **keywords)
        self.calls += 1
        if self.fault == "in place":
            batch.labeled.image.add_(1)
        if self.fault == "mode":
            self.student.eval()
        factor = {"chance": random.random(), "state": self.calls, "nan": float("nan")}.get(self.fault, 1)
        normaliser = step.terms.normaliser * (3 if self.fault == "normaliser" else 1)
        offset = 1.0 if self.fault == "void" else 0.0
        terms = {name: (weight, value * factor + offset) for name, (weight, value) in step.terms.items()}
        return replace(step, terms=Terms(terms, normaliser=normaliser))


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("chance", "finite_and_deterministic"),
        ("nan", "finite_and_deterministic"),
        ("normaliser", "normaliser_is_the_sum_of_weights"),
        ("unused", "every_trained_parameter_gets_a_gradient"),
        ("in place", "batch_is_not_changed"),
        ("mode", "modes_are_restored"),
        ("state", "state_round_trip_continues_bit_for_bit"),
        ("void", "nothing_labelled_nothing_valid_is_zero_not_nan"),
        ("ood state", "ood_stream_adds_no_state"),
    ],
)
def test_a_fault_is_found_by_its_check(fault, check):
    every = {one.name.partition("[")[0] for one in method_checks(Faulty)}
    with pytest.raises(AssertionError, match=rf"method 'Faulty': check {check}(\[\w+\])?: "):
        check_method(Faulty, fault=fault, skip=every - {check})


def test_an_error_is_told_with_its_check():
    message = r"method 'Faulty': check finite_and_deterministic\[alone\]: RuntimeError: no such thing"
    with pytest.raises(AssertionError, match=message):
        check_method(Faulty, fault="needs more")


class Swallowing(FixMatch):
    """FixMatch that takes any option."""

    def __init__(self, segmenter, *, num_classes: int, ood=None, conf_thresh: float = 0.95, **options) -> None:
        super().__init__(segmenter, num_classes=num_classes, ood=ood, conf_thresh=conf_thresh)


def test_options_that_are_swallowed():
    with pytest.raises(AssertionError, match="check unknown_options_are_refused: the method takes an option"):
        check_method(Swallowing)


def test_checks_and_segmenters_that_are_not_known():
    with pytest.raises(UsageError, match="did you mean 'batch_of_one'"):
        check_method("fixmatch", skip=["batch_of_1"])
    with pytest.raises(UsageError, match="no small 'sed' is known for method 'sed'; pass segmenter="):
        check_method("sed")
