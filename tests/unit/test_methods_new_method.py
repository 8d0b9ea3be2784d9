"""The page for those who add a method does what it says: one file, one row, and the contract of every method holds."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from contract import test_method_contract as contract
from contract.toy import ARMS, toy_batch, toy_method
from e2e.folders import settings, write
from semiovs import methods, registry
from semiovs.config import load_config, problems
from semiovs.engine.dry_run import dry_run
from semiovs.errors import UsageError
from semiovs.methods import Progress
from semiovs.registry import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "extend" / "new-method.md"
NAME = "mean-teacher"

WITH_ARMS = (
    contract.test_finite_and_deterministic,
    contract.test_total_is_the_paper_s_formula,
    contract.test_every_trained_parameter_gets_a_gradient,
    contract.test_the_batch_is_not_changed,
    contract.test_modes_are_restored,
    contract.test_state_round_trip_continues_bit_for_bit,
    contract.test_batch_of_one,
    contract.test_nothing_labelled_nothing_valid_is_zero_not_nan,
)
ALONE = (
    contract.test_the_ood_stream_adds_no_state,
    contract.test_the_naive_arm_differs_in_labels_alone,
    contract.test_the_naive_arm_reads_no_label_of_the_batch,
    contract.test_ood_images_in_the_shared_pass,
    contract.test_ood_weights_sum_to_lambda,
    contract.test_a_batch_that_lacks_a_stream_is_refused,
)


@pytest.fixture(autouse=True)
def added(tmp_path, monkeypatch):
    """The file and the row, as printed."""
    code, row = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    package = tmp_path / "added"
    package.mkdir()
    (package / "mean_teacher.py").write_text(code)
    monkeypatch.setattr("semiovs.methods.__path__", [*methods.__path__, str(package)])
    monkeypatch.delitem(sys.modules, "semiovs.methods.mean_teacher", raising=False)
    (entry,) = eval(row, {"Entry": registry.Entry})
    table = MappingProxyType({**registry.METHODS, entry.name: entry})
    for module in [m for name, m in sys.modules.items() if name.startswith("semiovs")]:
        if getattr(module, "METHODS", None) is METHODS:
            monkeypatch.setattr(module, "METHODS", table)
    monkeypatch.setitem(problems.NAMES, "method.name", ("method", table))
    yield entry
    sys.modules.pop("semiovs.methods.mean_teacher", None)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("check", WITH_ARMS, ids=lambda f: f.__name__)
def test_it_keeps_the_contract_in_every_arm(check, arm):
    check(NAME, arm)


@pytest.mark.parametrize("check", ALONE, ids=lambda f: f.__name__)
def test_it_keeps_the_contract(check):
    check(NAME)


def test_its_row_agrees_with_its_signature(added):
    accepted = {p.name: p.default for p in inspect.signature(added.load()).parameters.values()}
    assert {k: v for k, v in accepted.items() if k not in ("segmenter", "num_classes", "ood")} == added.options


def test_its_loss_is_the_formula_of_its_docstring():
    """The squared distance of probabilities, over valid pixels, weighted by the ramp."""
    method = toy_method(NAME, ramp=0.5)
    batch = toy_batch(method)
    torch.manual_seed(0)
    step = method(batch, Progress(step=2, total_steps=10))
    assert step.terms["s"].weight == pytest.approx(0.4)
    u, student = batch.unlabeled, toy_method(NAME, ramp=0.5).student.eval()
    q = student(u.weak).softmax(1)
    fresh = toy_method(NAME, ramp=0.5).student.train()
    fresh(batch.labeled.image)
    p = fresh(u.strong[0]).softmax(1)
    total = sum(((p - q) ** 2).sum(1)[u.valid]) / u.valid.sum()
    torch.testing.assert_close(step.terms["s"].value, total)


def test_a_ramp_that_cannot_be():
    with pytest.raises(UsageError, match=r"ramp: 2 is not between"):
        toy_method(NAME, ramp=2)


@pytest.mark.parametrize("ood", [False, True])
def test_it_trains_from_the_command_line_s_configuration(tmp_path, ood):
    arguments = settings(write(tmp_path / "data"), tmp_path / "run", method__name=NAME, method__ramp=0.2)
    if not ood:
        arguments = [a for a in arguments if not a.startswith("ood.")]
    found = dry_run(load_config("quick", arguments).config)
    assert found["trained_parameters"] > 1000
    assert any(name.startswith("ood") for name in found["batch"]) == ood
