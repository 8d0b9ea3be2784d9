"""The page for those who add a method does what it says: an installed package, and the contract of every method
holds.
"""

from __future__ import annotations

import pytest
import torch

from contract.toy import toy_batch, toy_method
from e2e.folders import settings, write
from plug_ins import blocks, installed, plugged
from semiovs.config import load_config
from semiovs.engine.dry_run import dry_run
from semiovs.errors import ConfigError, UsageError
from semiovs.methods import Progress
from semiovs.registry import METHODS
from semiovs.testing import check_method

NAME = "mean-teacher"


@pytest.fixture(autouse=True)
def _added():
    with plugged(installed("new-method")):
        yield


def test_the_test_of_the_page_passes():
    _, test = blocks("new-method", "python")
    names = {}
    exec(test, names)
    names["test_mean_teacher"]()


def test_its_loss_has_no_threshold():
    with pytest.raises(AssertionError, match=r"check thresholds_per_class: terms \['s'\] are not 0"):
        check_method(NAME)


def test_its_class_is_checked_as_its_name_is():
    check_method(METHODS[NAME].load(), skip=["thresholds_per_class"], ramp=0.5)


def test_its_row():
    row = METHODS[NAME].as_json()
    assert row == {
        "name": NAME,
        "summary": "An averaged student teaches the strong view.",
        "options": {"ramp": 0.1, "conf_thresh": 0.95, "ema_decay": 0.99},
        "segmenter": "deeplabv3plus",
        "source": "Tarvainen and Valpola 2017",
        "package": "semiovs-mean-teacher 1.0",
    }


def test_its_options_are_checked_by_their_types(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("method:\n  name: mean-teacher\n  ramp: steep\n  rmap: 0.1\n  conf_thresh: [0.5, 2]\n")
    with pytest.raises(ConfigError) as raised:
        load_config(str(path), cwd=tmp_path)
    assert str(raised.value).splitlines() == [
        "config: method.ramp: expected a number, got 'steep' in my.yaml:3",
        "config: method.rmap: method 'mean-teacher' has no such option (did you mean 'ramp'?) in my.yaml:4",
        "config: method.conf_thresh: must be from 0 to 1, got 2 in my.yaml:5",
    ]


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
