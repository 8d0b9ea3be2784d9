"""Blocks of a job: their order, and what actors say when something is wrong. No cluster is started."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from semiovs.clusters.ray_blocks import _BlockActor, in_order, run_blocks
from semiovs.errors import DataError, WeightsError


@dataclass(frozen=True)
class _Job:
    weights: bool = True

    def begin(self) -> int:
        if not self.weights:
            raise WeightsError("no weights")
        return 10

    def do(self, tools: int, number: int) -> int:
        if number == 3:
            raise DataError("3.png: no picture", ["3.png"], kind="unreadable")
        return tools * number


@pytest.fixture
def make_actor(monkeypatch):
    monkeypatch.setattr(pytest.importorskip("ray"), "get", lambda given: given)
    before = Path.cwd()
    monkeypatch.chdir(before)  # an actor changes the folder
    return lambda job, folder=before: _BlockActor(job, str(folder))


def ask(actor, *numbers):
    """Answers as they travel between processes."""
    return [pickle.loads(pickle.dumps(answer)) for answer in actor({"block": np.array(numbers)})["answer"]]


def test_blocks_come_in_order_whatever_is_done_first():
    taken = []

    def answers():
        for number in (2, 0, 3, 1):
            taken.append(number)
            yield number, f"block {number}"

    ordered = in_order(answers())
    assert next(ordered) == "block 0"
    assert taken == [2, 0], "nothing is waited for that is not needed"
    assert list(ordered) == ["block 1", "block 2", "block 3"]


def test_an_actor_answers_and_its_errors_travel(make_actor):
    good, bad = ask(make_actor(_Job()), 2, 3)
    assert (good.number, good.value, good.error) == (2, 20, None)
    assert (type(bad.error), str(bad.error), bad.error.kind) == (DataError, "3.png: no picture", "unreadable")
    assert bad.error.problems == ("3.png",)
    assert "in do" in bad.error.__notes__[0], "where it comes from, for SEMIOVS_LOG_LEVEL=DEBUG"


def test_an_actor_that_cannot_be_made_says_why(make_actor, tmp_path):
    assert [(type(a.error), str(a.error)) for a in ask(make_actor(_Job(weights=False)), 0)] == [
        (WeightsError, "no weights")
    ]
    (lost,) = ask(make_actor(_Job(), tmp_path / "elsewhere"), 0)
    assert isinstance(lost.error, DataError)
    assert f"{tmp_path / 'elsewhere'}: not on all machines" in str(lost.error)


def test_an_actor_works_where_the_job_was_started(make_actor, tmp_path):
    make_actor(_Job(), tmp_path)
    assert Path.cwd() == tmp_path


def test_nothing_to_do_needs_no_cluster():
    assert list(run_blocks(_Job(), [], actors=2)) == []
