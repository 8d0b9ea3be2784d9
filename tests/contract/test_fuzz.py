"""All targets of `benchmarks.fuzz`, a few cases each, always the same; and JSON that hypothesis draws."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
case, targets, mutators, campaign = (
    importlib.import_module(f"benchmarks.fuzz.{name}") for name in ("case", "targets", "mutators", "campaign")
)
Target = importlib.import_module("benchmarks.fuzz.target").Target

#: Cases of each target, and CPU seconds of one; the program itself allows one second.
CASES, SECONDS = 10, 4.0


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIOVS_CACHE_DIR", "")  # the bench sets it; put back afterwards
    return lambda target: case.Bench(target, tmp_path / "root" / "case")


def test_there_are_targets_of_every_kind():
    assert len(targets.TARGETS) >= 30
    assert {target.form for target in targets.TARGETS.values()} <= set(mutators.FORMS)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_spoilt_files_are_read_or_refused(bench, name):
    ready = bench(targets.TARGETS[name])
    found = [ready.run(ready.make("ci", n), "ci", n, least=SECONDS) for n in range(CASES)]
    assert [(one.number, one.what) for one in found if one.kind == "wrong"] == []
    assert {one.kind for one in found} <= {"read", "refused"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["manifest", "store-index", "store-meta", "coco", "labelme", "calibration"])
def test_any_json_is_read_or_refused(bench, name):
    ready = bench(targets.TARGETS[name])
    text = ready.seeds[0]
    seed = json.loads(text.split(b"\n")[0] if ready.target.form == "jsonl" else text)

    @settings(derandomize=True, max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(seed)), VALUES)
    def check(key, value):
        data = json.dumps({**seed, key: value}).encode("utf-8", "surrogatepass")
        found = ready.run(data, "drawn", 0, least=SECONDS)
        assert found.kind != "wrong", (found.what, data)

    check()


def test_what_goes_wrong_is_told(bench, tmp_path):
    """Each rule, by a reader that breaks it."""

    def read(path):
        word = path.read_bytes()
        if word == b"crash":
            raise KeyError("x")
        if word == b"memory":
            b"x" * (400 * 2**20)  # not zeros: pages of zeros may be taken back meanwhile, and are then not counted
        if word == b"beside":
            (path.parents[1] / "out").write_text("x")

    ready = bench(Target("own", "text", "a", lambda _: [b"x"], read))
    words = (b"x", b"crash", b"memory", b"beside")
    kinds = {word: ready.run(word, "0", 0, least=case.HUNG).what for word in words}
    assert kinds[b"x"] == ""
    assert kinds[b"crash"].startswith("KeyError at test_fuzz.py")
    assert kinds[b"beside"] == "wrote beside its folder"
    if Path("/proc/self/clear_refs").exists():
        assert kinds[b"memory"].startswith("memory: ")
    assert ready.make("a", 3) == ready.make("a", 3)


def test_a_slow_case_is_read_twice(bench, monkeypatch):
    clock = iter([0, 3, 3, 3.5, 4, 7, 7, 9])
    monkeypatch.setattr("benchmarks.fuzz.case.time.process_time", lambda: next(clock))
    read = []
    ready = bench(Target("own", "text", "a", lambda _: [], read.append))
    outcomes = [ready.run(data, "0", 0) for data in (b"once", b"always")]
    assert [(one.kind, one.what) for one in outcomes] == [("read", ""), ("wrong", "slow: 2.0 s (read)")]
    assert [one.seconds for one in outcomes] == [0.5, 2.0]
    assert len(read) == 4


def test_a_process_that_dies_is_one_wrong_case(monkeypatch):
    def read(path):
        if path.read_bytes() != b"x":
            importlib.import_module("os").kill(importlib.import_module("os").getpid(), 9)

    dying = Target("dying", "text", "a", lambda _: [b"x"], read)
    monkeypatch.setitem(targets.TARGETS, "dying", dying)
    found = list(campaign.run_cases("dying", "0", 3, float("inf")))
    assert [one.number for one in found] == [0, 1, 2]
    assert "the process hung or died (status -9)" in {one.what for one in found}
