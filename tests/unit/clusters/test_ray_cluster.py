"""Joining a cluster: what Ray is asked for. No cluster is started."""

from __future__ import annotations

import sys

import pytest

from semiovs.clusters.ray_cluster import join_cluster, require_ray
from semiovs.errors import MissingExtraError, UsageError


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    """Arguments of `ray.init`; a cluster of three cores and two GPUs comes of it."""
    ray, made = pytest.importorskip("ray"), []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda **given: made.append(given))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 3.0, "GPU": 2.0})
    monkeypatch.setattr(ray, "shutdown", lambda: made.append({"left": True}))
    return made


def test_without_an_address_it_is_a_cluster_of_its_own(calls):
    with join_cluster(0, None) as actors:
        assert actors == 3
        assert calls[0]["address"] == "local", "not one that somebody else has started on this machine"
    assert calls[-1] == {"left": True}


def test_with_an_address_ray_reads_it(calls, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with join_cluster(1, None) as actors:
        assert actors == 2
    assert "address" not in calls[0]
    with join_cluster(1, 1) as actors:
        assert actors == 1


def test_what_ray_says_is_one_line(calls, monkeypatch):
    def refuse(**given):
        raise ConnectionError("Version mismatch: the cluster has 2.1\nmuch more")

    monkeypatch.setattr(sys.modules["ray"], "init", refuse)
    with pytest.raises(UsageError, match=r"cannot be joined: Version mismatch: the cluster has 2\.1$"):
        join_cluster(0, 1).__enter__()


def test_a_program_that_has_joined_one_keeps_it(calls, monkeypatch):
    monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: True)
    monkeypatch.setenv("RAY_ADDRESS", "no address:")  # not looked at
    with join_cluster(0, 5) as actors:
        assert actors == 5
    assert calls == []


def test_what_is_refused_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'semiovs\[ray\]'"):
        require_ray()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="without torchrun"):
        require_ray()
