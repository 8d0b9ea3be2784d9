"""The time is told before the first step, and the run does not notice."""

from __future__ import annotations

import hashlib
import logging
import re

import pytest
import torch
from torch import nn

from e2e import folders
from semiovs.config import load_config
from semiovs.engine import rehearsal, training
from semiovs.engine.finite_guard import KeptBuffers
from semiovs.engine.rehearsal import Estimate
from semiovs.engine.run import read_metrics

OPTIONS = {
    "train__steps": 5,
    "train__eval_every": 2,
    "train__log_every": 1,
    "train__save_every": 3,
    "ood__batch_size": 2,
}
LINE = re.compile(r"about \d+ s: (\d+) steps of [\d.e-]+ s(?: and (\d+) evaluations of [\d.e-]+ s)?")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("data"))


def train(data, run, **options):
    """Train in this process, and return what the run keeps."""
    training.train(load_config(None, folders.settings(data, run, **OPTIONS, **options)), ["test"])
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(run.glob("checkpoints/*.pt"))]
    rows = [{k: v for k, v in row.items() if not k.startswith("wall/")} for row in read_metrics(run / "metrics.jsonl")]
    return digests, rows


def find_lines(caplog):
    return [match for record in caplog.records if (match := LINE.fullmatch(record.getMessage()))]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("unimatch", {}),
        ("corrmatch", {}),  # a moving threshold
        ("allspark", {"data__workers": 2}),  # a memory that takes its size from the first batch
        ("prevmatch", {"train__nonfinite": "skip", "train__accumulate": 2}),
    ],
)
def test_it_leaves_no_trace(data, tmp_path, monkeypatch, caplog, method, options):
    own = {"prevmatch": {"method__prev_snapshot": "schedule", "method__prev_every": 2}}.get(method, {})
    without = train(data, tmp_path / "without", method__name=method, **own, **options)
    assert not find_lines(caplog)
    monkeypatch.setattr(training, "FEWEST", 5)
    with caplog.at_level(logging.INFO, logger="semiovs"):
        assert train(data, tmp_path / "with", method__name=method, **own, **options) == without
    (found,) = find_lines(caplog)
    assert found.groups() == ("5", "3")  # after steps 2, 4 and 5
    told = [record.getMessage() for record in caplog.records]
    assert not any("without evaluations" in line for line in told)
    assert [row["step"] for row in without[1] if row["kind"] == "train"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("options", "evaluation"), [({}, 2 * 2 * 0.1), ({"eval__batch_size": 2}, 2 * 0.1)])
def test_seconds_of_what_is_counted(data, tmp_path, monkeypatch, options, evaluation):
    """A step that takes 0.05 s twice (accumulated) and an image, or two images together, that take 0.1 s."""
    monkeypatch.setattr(training, "FEWEST", 5)
    found = []
    times = iter([0.01, 0.05, 0.1, 0.1])  # loading, passes, the batches of two models

    def take_time(experiment, action):
        action()
        return next(times)

    def rehearse(*arguments):
        found.append(rehearsal.rehearse(*arguments))
        return found[0]

    monkeypatch.setattr(rehearsal, "_time", take_time)
    monkeypatch.setattr(training, "rehearse", rehearse)
    train(data, tmp_path / "run", train__accumulate=2, **options)
    assert found == [Estimate(5, pytest.approx(0.12), 3, pytest.approx(evaluation))]
    assert found[0].seconds == pytest.approx(5 * 0.12 + 3 * evaluation)
    assert str(Estimate(300, 2.11, 6, 75)) == "about 18 min: 300 steps of 2.1 s and 6 evaluations of 1 min"
    assert str(Estimate(300, 20, 0, 0)) == "about 1 h 40 min: 300 steps of 20 s"


def test_a_run_without_evaluations(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(training, "FEWEST", 5)
    (tmp_path / "none.txt").write_text("")
    with caplog.at_level(logging.INFO, logger="semiovs"):
        root = folders.write(tmp_path / "data")
        (root / "val").rename(root / "other")
        train(root, tmp_path / "run", method__name="supervised")
    assert [match.groups() for match in find_lines(caplog)] == [("5", None)]


def test_buffers_that_were_replaced_are_put_back():
    module = nn.Sequential(nn.BatchNorm2d(2))
    module.register_buffer("memory", torch.zeros(2, 0), persistent=False)
    memory, mean = module.memory, module[0].running_mean
    kept = KeptBuffers(module)
    module(torch.randn(2, 2, 3, 3))
    module.memory = torch.ones(2, 5)
    kept.restore()
    assert module.memory is memory
    assert module[0].running_mean is mean
    assert mean.tolist() == [0, 0]
    assert int(module[0].num_batches_tracked) == 0
