"""`make bench` on inputs so small that the numbers mean nothing: everything runs, and every comparison still compares
equals.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
import torch

from semiovs.registry import METHODS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_collect():
    """A measurement collects garbage each time; what other tests of this process left is not gone through again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def importable():
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(module: str, *arguments: str) -> Done:
    """What `python -m MODULE ARGUMENTS…` does in the project's folder, in this process."""
    out, err = io.StringIO(), io.StringIO()
    main = importlib.import_module(module).main
    threads = torch.get_num_threads(), cv2.getNumThreads()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    return Done(code, out.getvalue(), err.getvalue())


def rows_of(result):
    return [row for part in result["subjects"].values() for row in part["rows"]]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "new" / "bench.json"
    done = run("benchmarks.__main__", "--tiny", "--runs", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert f"written to {out}" in done.stdout.replace("\n", "")
    return json.loads(out.read_text("utf-8"))


def test_every_subject_gives_rows(result):
    assert list(result["subjects"]) == ["loader", "step", "counts", "cutmix", "precision", "label"]
    rows = rows_of(result)
    assert len({row["name"] for row in rows}) == len(rows) > len(result["subjects"])
    for row in rows:
        assert set(row) == {"name", "ours", "baseline", "ratio", "unit", "runs", "low", "high"}
        assert row["low"] <= row["ratio"] <= row["high"]
    assert result["tiny"]
    assert result["hardware"]["cores"] >= 1
    assert result["versions"]["torch"]
    assert all(set(part) == {"date", "load", "rows"} for part in result["subjects"].values())


def test_ratios_say_how_many_times_better(result):
    rows = rows_of(result)
    assert {"CPU s" in row["unit"] for row in rows} == {True, False}
    for row in rows:
        better = row["ours"] / row["baseline"] if "CPU s" in row["unit"] else row["baseline"] / row["ours"]
        assert row["ratio"] == pytest.approx(better, rel=2e-3)


def test_the_committed_results_have_the_same_rows(result):
    committed = json.loads((ROOT / "docs/results/bench-cpu.json").read_text("utf-8"))
    assert not committed["tiny"]
    assert [
        name
        for name in committed["subjects"]
        if name not in ("methods", "paper", "corrmatch", "flow", "reading", "data")
    ] == list(result["subjects"])
    for subject in ("loader", "counts", "cutmix"):
        names = [[row["name"] for row in r["subjects"][subject]["rows"]] for r in (committed, result)]
        names[0] = [name for name in names[0] if not name.startswith("photographs, ")]  # which need --images
        assert names[0] == names[1], "run: python -m benchmarks"
    once = ("size", "memory", "operators")  # the same in every run
    assert all(row["runs"] >= 5 or any(word in row["name"] for word in once) for row in rows_of(committed))


def test_the_page_shows_the_committed_results():
    assert run("benchmarks.draw", "--check").returncode == 0, "run: python -m benchmarks.draw"


def test_one_subject_replaces_its_rows_alone(result, tmp_path):
    out = tmp_path / "bench.json"
    old = result | {"subjects": {name: part | {"date": "1970-01-01"} for name, part in result["subjects"].items()}}
    out.write_text(json.dumps(old), "utf-8")
    assert run("benchmarks.__main__", "cutmix", "--tiny", "--runs", "1", "--out", str(out)).returncode == 0
    new = json.loads(out.read_text("utf-8"))["subjects"]
    assert [name for name, part in new.items() if part["date"] != "1970-01-01"] == ["cutmix"]
    assert list(new) == list(result["subjects"])
    out.write_text(json.dumps(old | {"versions": {}}), "utf-8")
    done = run("benchmarks.__main__", "cutmix", "--tiny", "--out", str(out))
    assert done.returncode == 2
    assert "was measured on another machine or with other versions" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lodaer"], "unknown subject 'lodaer'; known are loader"),
        (["--runs", "0"], "--runs must be at least 1"),
        (["step", "--device", "cuda"], "--device cuda is for methods, paper alone"),
    ],
)
def test_wrong_arguments(arguments, expected):
    done = run("benchmarks.__main__", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr


def test_a_ratio_is_how_many_times_better_by_the_clock(monkeypatch):
    measure = importlib.import_module("benchmarks.measure")
    now = [0.0]

    def takes(*seconds):
        left = iter((99.0, *seconds))  # the first run does not count

        def variant():
            now[0] += next(left)

        return variant

    size = measure.Size(runs=3)
    times = measure.alternately(size, lambda: now[0], ours=takes(1, 2, 4), plain=takes(4, 6, 8))
    assert times == {"ours": [1, 2, 4], "plain": [4, 6, 8]}
    assert measure.row("a", times, "ours", "plain", "ms", work=2) == measure.Row("a", 1000, 3000, 3, "ms", 3, 2, 4)
    assert measure.rate("b", times, "ours", "plain", "1 / s", work=8) == measure.Row("b", 4, 4 / 3, 3, "1 / s", 3, 2, 4)
    assert measure.counted("c", 2, 6, "calls") == measure.Row("c", 2, 6, 3, "calls", 1, 3, 3)


def test_the_data_check_is_measured(monkeypatch):
    subject = importlib.import_module("benchmarks.data")
    size = subject.Size(runs=1, tiny=True)
    assert [row.unit for row in subject.rows(size)] == ["images / CPU s", "images / CPU s", "ms", "s", "MB", "s"]
    pairs = subject._by_hand(subject._hashes(100))
    assert len(pairs) >= 10
    monkeypatch.setattr(subject, "_by_hand", lambda hashes: set(sorted(pairs)[1:]))
    with pytest.raises(AssertionError):  # a search that finds others than the loop
        subject._near(size)


def test_growth_is_measured_and_drawn(tmp_path):
    out = tmp_path / "growth.json"
    done = run("benchmarks.__main__", "growth", "--tiny", "--runs", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    growth, growing = (importlib.import_module(f"benchmarks.{name}") for name in ("growth", "growing"))
    result = json.loads(out.read_text("utf-8"))
    expected = [case.name for case in growing.CASES for _ in range(1 + case.memory)]
    assert [curve["name"] for curve in result["curves"]] == expected
    values = {case.name: list(case.tiny) for case in growing.CASES}
    assert all([x for x, _ in curve["points"]] == values[curve["name"]] for curve in result["curves"])
    assert all(y > 0 for curve in result["curves"] for _, y in curve["points"])
    assert len(growth.table(result)) == len(expected) + 6
    growth.chart(result, tmp_path / "growth.svg")
    assert growing.CASES[0].name in (tmp_path / "growth.svg").read_text("utf-8")
    done = run("benchmarks.__main__", "growth", "nothing like it")
    assert done.returncode == 2
    assert "no case has 'nothing like it' in its name" in done.stderr


def test_exponents_and_bends():
    growth = importlib.import_module("benchmarks.growth")
    square = [(x, 3 * x**2) for x in (1, 2, 4, 8, 16)]
    assert growth.exponent(square) == pytest.approx(2)
    assert growth.bend(square) is None
    flat_then_linear = [(x, max(x, 8)) for x in (1, 2, 4, 8, 16, 32, 64)]
    assert growth.bend(flat_then_linear) == pytest.approx((8, 0, 1), abs=1e-9)
    assert growth.bend(flat_then_linear[:3]) is None


def test_profiles_name_ten_operators(tmp_path):
    out = tmp_path / "profile.json"
    done = run("benchmarks.__main__", "profile", "--tiny", "--out", str(out), "--traces", str(tmp_path / "traces"))
    assert done.returncode == 0, done.stderr
    profile, rows = importlib.import_module("benchmarks.profile"), json.loads(out.read_text("utf-8"))["rows"]
    counts = [sum(row["name"].startswith(name) for row in rows) for name in profile.SUBJECTS]
    assert counts == [11, 11]  # and the sum of them all
    assert {file.name for file in (tmp_path / "traces").iterdir()} == {"trace-step.json.gz", "trace-label.json.gz"}
    result = json.loads(out.read_text("utf-8"))
    earlier = {**result, "rows": [{**rows[0], "value": 7777.0}]}
    lines = profile.table(result, earlier)
    assert [line for line in lines if "7.78e+03" in line] == [line for line in lines if "all operators" in line][:1]
    assert sum("not among its ten" in line for line in lines) == 21
    assert not any("before" in line for line in profile.table(result))


def test_exports_are_compared_with_their_models(tmp_path):
    out = tmp_path / "exports.json"
    done = run("benchmarks.__main__", "exports", "--tiny", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [(row["model"], row["format"]) for row in rows] == [("DeepLabV3+, small", "onnx"), ("SemiVL, tiny", "torch")]
    assert all(row["refused"] is None and row["agreement"] >= 0.999 for row in rows)


def test_region_propagation_equals_the_loop(monkeypatch):
    subject = importlib.import_module("benchmarks.corrmatch")
    size = subject.Size(runs=1, tiny=True)
    rows = subject.rows(size)
    assert len(rows) == 9
    assert [row.ours < row.baseline for row in rows if row.unit == "calls"] == [True] * 3
    loop = subject.one_by_one
    monkeypatch.setattr(subject, "one_by_one", lambda *given: (loop(*given)[0] + 1, loop(*given)[1]))
    with pytest.raises(AssertionError):  # shapes that differ from the loop's
        subject.rows(size)


@pytest.fixture
def methods(monkeypatch):
    """The subject `methods`; peak memory takes a fresh process, so here it is measured once."""
    subject = importlib.import_module("benchmarks.methods")
    measured = subject.peak

    def peak(device, name, model, variant, *, ood):
        once = (name, variant, ood) == ("fixmatch", "ours", False)
        return measured(device, name, model, variant, ood=ood) if once else 1.0

    monkeypatch.setattr(subject, "peak", peak)
    return subject


def test_every_method_equals_its_formula_inlined(methods):
    """Losses are compared before anything is timed; a method of the registry without a row is found here."""
    trained = {name for name, entry in METHODS.items() if entry.segmenter != "sed"}
    assert {case.method for case in methods.CASES} == trained, "add a row to benchmarks/methods.py"
    rows = methods.rows(methods.Size(runs=1, tiny=True))
    assert len({row.name for row in rows}) == len(rows) == 4 * len(trained)
    (memory,) = [row for row in rows if row.name.startswith("fixmatch, ") and row.name.endswith("memory of a step")]
    assert 0 < memory.ours < 500


def test_a_formula_that_differs_is_found(methods):
    from dataclasses import replace

    case = methods.CASES[0]
    wrong = replace(case, formula=lambda *given: 1.01 * case.formula(*given))
    with pytest.raises(AssertionError, match="supervised, tiny 33²×2: the inlined formula has losses"):
        methods._rows(wrong, methods.TINY["deeplabv3plus"], methods.Size(1, tiny=True), ood=False)
