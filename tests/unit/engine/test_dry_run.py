"""A dry run answers in time whatever a step costs."""

from __future__ import annotations

import time

import pytest

from semiovs.config import load_config
from semiovs.engine import dry_run as module
from semiovs.engine.training import train
from unit import toy_data

TIMED_AT_LEAST = module.TIMED
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
    assert found["evaluations"] == 0  # there are no images for any
    line = module.format_dry_run(found).splitlines()[-1]
    assert "without evaluations" in line or finished
    assert said in line
    assert ("at least" in line) == (finished == 0)
    assert found["seconds_in_all"] == found["seconds_per_step"] * found["steps"]


def test_quick_steps_are_timed_for_a_while_and_evaluations_count(tmp_path, monkeypatch):
    """As many steps as fit into `ENOUGH`, at least two; then an image stands for all images of all evaluations."""
    toy_data.make(tmp_path, labeled=2, unlabeled=2, val=2, ood=0)
    config = load_config("quick", [f"data.root={tmp_path}", *TINY, "train.steps=40", "train.eval_every=15"]).config
    now = iter(range(10_000))
    monkeypatch.setattr(module, "ENOUGH", 5.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(module, "LIMIT", 1e6)
    monkeypatch.setattr(module, "time_evaluation", lambda experiment, scored, score: 7.0 * len(scored))
    found = module.dry_run(config)
    assert TIMED_AT_LEAST < found["timed_steps"] < 20
    assert (found["evaluations"], found["seconds_per_evaluation"]) == (3, 7.0)  # after 15, 30 and 40 steps
    assert found["seconds_in_all"] == 40 * found["seconds_per_step"] + 3 * 7.0
    assert "with 3 evaluations of 7 s" in module.format_dry_run(found).splitlines()[-1]


def test_a_step_waits_for_its_images(config, monkeypatch):
    """What loader processes had ahead at the beginning does not hide that they are slower than the model."""
    monkeypatch.setattr(module, "time_loading", lambda experiment: 9.0)
    slow = config.model_copy(update={"data": config.data.model_copy(update={"workers": 2})})
    assert module.dry_run(slow)["seconds_per_step"] == 4.5
    alone = config.model_copy(update={"data": config.data.model_copy(update={"workers": 0})})
    assert module.dry_run(alone)["seconds_per_step"] < 4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_disk_is_that_of_the_checkpoints(config, tmp_path, optimizer):
    """Three of them: the newest, the best, and one that is being written."""
    settings = [f"optim.name={optimizer}", "train.steps=1", "train.keep_last=1", "model.channels=64"]
    config = load_config("quick", [f"data.root={tmp_path}", *TINY, *settings, f"run.dir={tmp_path / 'run'}"])
    found = module.dry_run(config.config)
    train(config, ["test"])
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*.pt")
    assert found["disk_gib"] * 2**30 == pytest.approx(3 * checkpoint.stat().st_size, rel=0.15)
    assert f"disk: {found['disk_gib']:.2f} GiB of checkpoints" in module.format_dry_run(found)
