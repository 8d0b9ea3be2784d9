"""A short form of `python -m benchmarks.chaos`, and that it would notice what it looks for."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
#: Kinds of the short form: three kills of a training and of a labelling, then a run without a whole checkpoint.
SHORT = ("kill-train", "kill-label", "corrupt-all")


@pytest.fixture(scope="module", autouse=True)
def importable():
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Folder of a short campaign in which nothing went wrong."""
    work = tmp_path_factory.mktemp("chaos")
    words = ["--only", *SHORT, "--trial", "0", "--work", str(work), "--out", str(work / "chaos.json")]
    command = [sys.executable, "-m", "benchmarks.chaos", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return work


def test_kills_and_corruptions_lose_nothing(work):
    result = json.loads((work / "chaos.json").read_text())
    rows = {row["kind"]: row for row in result["kinds"]}
    assert tuple(rows) == SHORT
    assert [row["right"] for row in rows.values()] == [1, 1, 1]
    assert rows["kill-train"]["tried"] == rows["kill-label"]["tried"] == 3
    assert rows["kill-train"]["too_late"] < 3, "at least one kill struck"
    assert not any(row["wrong"] or row["not_covered"] for row in rows.values())


def _one_weight(run: Path) -> None:
    path = run / "checkpoints" / "step-00000012.pt"
    state = torch.load(path, weights_only=True)
    next(iter(state["optimizers"][0]["state"].values()))["momentum_buffer"].add_(1e-6)
    torch.save(state, path)


def _one_row(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:3] + lines[4:]))


def _one_file(run: Path) -> None:
    (run / "checkpoints" / "step-00000012.pt.tmp-host-1-0").touch()


@pytest.mark.parametrize(
    ("change", "named"), [(_one_weight, "momentum_buffer"), (_one_row, "metrics.jsonl"), (_one_file, "other files")]
)
def test_a_difference_is_found_and_named(work, tmp_path, change, named):
    from benchmarks.chaos.equality import run_difference

    straight = work / "undisturbed" / "run-unimatch" / "out"
    run = Path(shutil.copytree(straight, tmp_path / "run", symlinks=True))
    assert run_difference(run, straight) is None
    change(run)
    assert named in str(run_difference(run, straight))


def test_what_goes_wrong_is_counted_and_can_be_seen_again(tmp_path):
    from benchmarks.chaos.__main__ import _campaign
    from benchmarks.chaos.trial import Kind, NotCoveredError, Story, require_code

    def breaks(world, story: Story) -> None:
        story.tell("a harm")
        require_code(1, 0, "Traceback of a bug")

    def lacks(world, story: Story) -> None:
        raise NotCoveredError("no such thing here")

    kinds = [Kind("breaks", "always", 2, breaks), Kind("lacks", "never", 2, lacks)]
    given = Namespace(trial=None, seed=3, budget=None, fresh=False, jobs=2, out=tmp_path / "out.json")
    assert _campaign(kinds, given, tmp_path / "work") == 1
    broken, lacking = json.loads(given.out.read_text())["kinds"]
    assert (broken["trials"], broken["right"], len(broken["wrong"])) == (2, 0, 2)
    assert "Traceback of a bug" in broken["wrong"][0]["reason"]
    assert broken["wrong"][1]["again"] == "python -m benchmarks.chaos --only breaks --seed 3 --trial 1"
    assert (lacking["trials"], lacking["not_covered"]) == (0, "no such thing here")


@pytest.mark.parametrize("number", range(4))
def test_the_same_seed_draws_the_same_damage(tmp_path, number):
    from benchmarks.chaos.corruptions import DAMAGES

    found = []
    for name in "ab":
        path = tmp_path / f"step-{name}.pt"
        path.write_bytes(bytes(range(256)) * 40)
        DAMAGES[number](path, random.Random(7))
        found.append(path.read_bytes())
    assert found[0] == found[1]
    assert found[0] != bytes(range(256)) * 40


def test_campaigns_of_two_seeds_add_up(work, tmp_path):
    from benchmarks.chaos.joining import join
    from benchmarks.chaos.page import table

    first = json.loads((work / "chaos.json").read_text())
    second = first | {"seed": 1, "kinds": [first["kinds"][0], first["kinds"][1] | {"kind": "another"}]}
    (tmp_path / "second.json").write_text(json.dumps(second))
    both = join([work / "chaos.json", tmp_path / "second.json"])
    assert both["seed"] == [0, 1]
    assert [row["tried"] for row in both["kinds"]] == [6, 3, *(row["tried"] for row in first["kinds"][2:]), 3]
    late = sum(row["too_late"] for row in both["kinds"] if row["kind"].startswith("kill-"))
    assert f"| kills | 9 | {9 - late} | 3 | 3 | 0 |" in table(both)
    with pytest.raises(SystemExit, match="the same trials count once"):
        join([work / "chaos.json", work / "chaos.json"])


def test_what_grows_over_the_rounds_is_named():
    from benchmarks.chaos.soak import BOUNDS, grown

    flat = [dict.fromkeys(BOUNDS, 40.0) for _ in range(12)]
    assert grown(flat) == {}
    begins_higher = [sample | {"handles": 90.0} if number < 3 else sample for number, sample in enumerate(flat)]
    assert grown(begins_higher) == {}, "the first quarter warms up"
    leaks = [sample | {"memory_mb": 40.0 + 4 * number} for number, sample in enumerate(flat)]
    assert grown(leaks) == {"memory_mb": "56 -> 80"}
    one_file = [sample | {"temporary_files": 41.0} if number > 8 else sample for number, sample in enumerate(flat)]
    assert set(grown(one_file)) == {"temporary_files"}
    assert grown(leaks[:7]) == {}, "too few rounds to tell"
