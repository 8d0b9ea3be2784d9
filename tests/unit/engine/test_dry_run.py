"""A dry run answers in time whatever a step costs."""

from __future__ import annotations

import time

import pytest

from semiovs.config import load_config
from semiovs.engine import dry_run as module
from unit import toy_data

TINY = ["data.crop_size=33", "model.channels=16", "method=supervised", "train.device=cpu"]


@pytest.fixture
def config(tmp_path):
    toy_data.make(tmp_path, labeled=2, unlabeled=2, val=0, ood=0)
    return load_config("quick", [f"data.root={tmp_path}", *TINY]).config


@pytest.mark.parametrize(("costs", "finished", "said"), [
    ([9.0], 0, "at least"),
    ([0.3, 9.0], 1, "the first one, which is slower"),
    ([0.01, 0.02, 0.02], 3, "about"),
])  # fmt: skip
def test_it_answers_in_time(config, monkeypatch, costs, finished, said):
    """… in the middle of a step, and after one that leaves no time for another like it."""
    monkeypatch.setattr(module, "LIMIT", 0.0)
    monkeypatch.setattr(module, "LEAST", 0.5)

    def fit(learner, batches, recipe, world, hooks):
        for cost in costs:
            next(batches)
            time.sleep(cost)
            hooks[0](learner)

    monkeypatch.setattr(module, "fit", fit)
    begin = time.perf_counter()
    found = module.dry_run(config)
    assert time.perf_counter() - begin < 4
    assert found["finished_steps"] == finished
    line = module.format_dry_run(found).splitlines()[-1]
    assert said in line
    assert ("at least" in line) == (finished == 0)
    assert found["seconds_in_all"] == found["seconds_per_step"] * found["steps"]
