"""`python -m benchmarks gpu`, rehearsed on a CPU, and what is drawn of its results."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIECES = ("device", "step-supervised")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "benchmarks", "gpu", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )


def result_of(piece: str, **more: object) -> dict:
    row = {"name": f"a row of {piece}", "value": 12.0, "unit": "ms", "low": 11.0, "high": 13.0, "runs": 10}
    row |= {"plain": 24.0, "note": "", "ratio": 2.0}
    whole = {"piece": piece, "device": "cuda", "tiny": False, "whole": True, "date": "2000-01-01"}
    return {**whole, "accelerator": "A GPU", "versions": {"torch": "2"}, "rows": [row], **more}


@pytest.mark.slow
def test_pieces_are_measured_once(tmp_path):
    words = ("--device", "cpu", "--tiny", "--out", str(tmp_path), *(f"--only={name}" for name in PIECES))
    done = run(*words)
    assert done.returncode == 0, done.stderr
    for name in PIECES:
        found = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
        assert found["whole"]
        assert found["tiny"]
        assert len({row["name"] for row in found["rows"]}) == len(found["rows"]) > 3
        assert all(row["value"] >= 0 and row["unit"] for row in found["rows"])
    gathered = json.loads((tmp_path / "bench-gpu.json").read_text("utf-8"))
    assert tuple(gathered["pieces"]) == PIECES
    (tmp_path / "device.json").write_text("{", "utf-8")  # killed while it was written
    before = (tmp_path / "step-supervised.json").read_bytes()
    done = run(*words, "--minutes", "0")
    assert "step-supervised: there already" not in done.stdout  # it comes after the piece for which no time is left
    assert "device: no time left" in done.stdout
    done = run(*words[:-1], "--only=step-supervised")
    assert "step-supervised: there already" in done.stdout
    assert (tmp_path / "step-supervised.json").read_bytes() == before


@pytest.fixture
def command(monkeypatch):
    """The command, with pieces that are measured in this process."""
    module = importlib.import_module("benchmarks.gpu.command")
    done: list[str] = []

    def measure(piece, given, method):
        done.append(piece.name)
        if piece.name == "compile":
            return "no compiler"
        module.write_json(given.out / f"{piece.name}.json", result_of(piece.name, device="cpu", tiny=True))
        return None

    monkeypatch.setattr(module, "run_apart", measure)
    monkeypatch.setattr(module, "choose_method", lambda: "none")
    monkeypatch.setattr(module, "find_gpu_memory", lambda: None)
    return module, done


def test_a_piece_that_fails_is_run_again_and_the_others_go_on(command, tmp_path, capsys):
    module, done = command
    words = ["--device", "cpu", "--tiny", "--out", str(tmp_path)]
    assert module.main(words) == 1
    names = [piece.name for piece in module.PIECES]
    assert done == names
    assert len(set(names)) == len(names) > 20
    assert "compile: FAILED: no compiler" in capsys.readouterr().err
    assert module.main(words) == 1
    assert done == [*names, "compile"]


@pytest.mark.parametrize(("words", "said"), [
    ([], "--out DIR is missing"),
    (["--out", "x", "--only", "stepp"], "unknown piece 'stepp'"),
    (["--out", "x"], "no GPU is usable here"),
    (["--out", "x", "--device", "cpu"], "give --tiny too"),
])  # fmt: skip
def test_what_is_refused(command, words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        command[0].main(words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_list_is_by_way_of_the_common_command(capsys):
    assert importlib.import_module("benchmarks.__main__").main(["gpu", "--list"]) == 0
    assert "step-prevmatch" in capsys.readouterr().out


def test_what_is_drawn():
    draw = importlib.import_module("benchmarks.draw")
    page = "<!-- gpu: begin, drawn by python -m benchmarks.draw -->\n<!-- gpu: end -->"
    empty = draw.gpu_page(page, None)
    assert empty.count("*not yet run*") == len(draw.PIECES)
    one = draw.gpu_page(page, {"pieces": {"compile": result_of("compile")}})
    assert one.count("*not yet run*") == len(draw.PIECES) - 1
    assert "| a row of compile | 12 | 24 | ms | 2.00× | 11–13 |  |" in one
    assert "A GPU. torch 2." in one
    other = {"compile": result_of("compile"), "device": result_of("device", accelerator="Another")}
    with pytest.raises(SystemExit, match="several machines"):
        draw.gpu_page(page, {"pieces": other})


def test_tests_are_counted(tmp_path):
    suite = importlib.import_module("benchmarks.gpu.suite")
    file = tmp_path / "tests.xml"
    file.write_text(
        "<testsuites><testsuite><testcase name='a'/><testcase name='b'><failure/></testcase>"
        "<testcase name='c'><skipped/></testcase><testcase name='d'><error/></testcase></testsuite></testsuites>"
    )
    found = {row.name: (row.value, row.note) for row in suite.counted(file)}
    assert found == {
        "GPU tests, passed": (1, ""), "GPU tests, failed": (2, "b, d"), "GPU tests, skipped": (1, "c"),
    }  # fmt: skip


def test_a_meter_takes_turns_and_medians(tmp_path):
    meter = importlib.import_module("benchmarks.gpu.meter")
    order: list[str] = []
    place = meter.Place("cpu", True, tmp_path, runs=2)
    times = place.alternately(a=lambda: order.append("a"), b=lambda: order.append("b"))
    assert "".join(order) == "ab" + "ab" + "ba"
    assert {name: len(each) for name, each in times.items()} == {"a": 2, "b": 2}
    row = meter.timed("x", {"a": [1.0, 3.0, 2.0], "b": [4.0, 8.0, 6.0]}, "a", "b", work=2)
    assert (row.value, row.low, row.high, row.plain, row.ratio) == (1.0, 0.5, 1.5, 3.0, 3.0)
    assert meter.Measured("x", 0.0, "MB", plain=1.0).ratio is None
