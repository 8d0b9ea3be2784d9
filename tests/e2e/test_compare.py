"""Comparisons of a tiny folder: whole, killed at random points, shared by two processes, of runs handed in."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import pytest

from e2e import folders
from e2e.launcher import command, finish, kill, start_command, train
from semiovs.comparison.cell_files import read_facts
from semiovs.comparison.plan import Plan
from semiovs.engine.run import Run

ARMS = ("labels", "ood", "placebo")


def arguments(data: Path, out: Path, *further: str, **values: object) -> list[str]:
    """A comparison of three arms with two seeds, a second a training."""
    given = {"train.steps": 6, "train.save_every": 2, **{key.replace("__", "."): v for key, v in values.items()}}
    keys = [word for word in folders.settings(data, out) if not word.startswith(("run.dir", *given))]
    keys += [f"{key}={value}" for key, value in given.items()]
    return ["compare", *keys, "--out", str(out), "--arms", ",".join(ARMS), "--seeds", "2", *further]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A comparison that ran to its end at once."""
    root = tmp_path_factory.mktemp("whole")
    code = command(*arguments(data, root / "out"), log=root / "log")
    assert code == 0, (root / "log.err").read_text()
    return root / "out"


def read_tables(out: Path) -> tuple[bytes, bytes, str]:
    results = json.loads((out / "results.json").read_text())
    del results["seconds"], results["cost"]
    for arm in results["arms"]:
        del arm["seconds_each"]
    return (out / "table.csv").read_bytes(), (out / "table.md").read_bytes(), json.dumps(results)


def test_every_arm_and_seed_is_a_run_with_the_same_steps(whole):
    plan = Plan.read(whole)
    facts = [read_facts(plan.directory(cell)) for cell in plan.cells()]
    assert len(facts) == 6
    assert {each.steps for each in facts} == {6}
    results = json.loads((whole / "results.json").read_text())
    assert [arm["name"] for arm in results["arms"]] == ["labels", "ood", "placebo"]
    assert [row["arms"] for row in results["differences"]] == [["labels", "ood"], ["placebo", "ood"]]
    assert results["verdict"] == "descriptive"
    assert all(arm["seeds"] == [0, 1] for arm in results["arms"])
    weights = {Run(plan.directory(cell)).model.read_bytes() for cell in plan.cells()}
    assert len(weights) == 6
    assert "Too few seeds for a verdict" in (whole / "report.html").read_text()
    assert not (plan.directory(plan.cells()[0]) / "checkpoints").exists()


def test_only_what_the_arm_names_differs(whole):
    plan = Plan.read(whole)
    labels, ood, placebo = (plan.load(cell).values() for cell in plan.cells()[:3])
    differ = {key for key in ood if placebo.get(key) != ood[key]}
    assert differ == {"ood.mode", "run.dir"}
    differ = {key.partition(".")[0] for key in {**ood, **labels} if labels.get(key) != ood.get(key)}
    assert differ == {"ood", "method", "run"}


def test_killed_at_random_points_it_ends_with_the_same_tables(data, whole, tmp_path):
    out, draws = tmp_path / "out", random.Random(5)
    for _ in range(3):
        process = start_command(*arguments(data, out), log=tmp_path / "log")
        time.sleep(draws.uniform(3, 9))
        kill(process)
    code = command(*arguments(data, out), log=tmp_path / "log")
    assert code == 0, (tmp_path / "log.err").read_text()
    assert read_tables(out) == read_tables(whole)


def test_a_finished_comparison_trains_nothing_and_more_seeds_are_added(data, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    moved = [word.replace(str(whole), str(out)) for word in arguments(data, whole)]
    assert command(*moved, log=tmp_path / "log") == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")} == before
    assert read_tables(out) == read_tables(whole)


def test_a_dry_run_says_how_long_it_takes(data, tmp_path):
    out = tmp_path / "out"
    assert command(*arguments(data, out, "--dry-run", "--json"), log=tmp_path / "log") == 0
    told = json.loads((tmp_path / "log").read_text())
    assert list(told["seconds_each"]) == list(ARMS)
    assert told["seconds"] == pytest.approx(2 * sum(told["seconds_each"].values()), rel=0.1, abs=1)
    assert not out.exists()


def test_other_settings_and_changed_files_are_refused(data, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert command(*arguments(data, out, optim__lr=0.5), log=tmp_path / "log") == 2
    assert "optim.lr: 0.01 there, 0.5 now" in (tmp_path / "log.err").read_text()
    plan = Plan.read(out)
    changed = next(plan.directory(plan.cells()[0]).glob("scores/last-ema.npz"))
    changed.write_bytes(changed.read_bytes() + b"x")
    assert command(*arguments(data, out), log=tmp_path / "log2") == 3
    assert f"{changed}: not what the training wrote" in (tmp_path / "log2.err").read_text()


def test_changed_images_are_refused(data, whole, tmp_path):
    out, root = tmp_path / "out", tmp_path / "data"
    shutil.copytree(whole, out)
    shutil.copytree(data, root)
    words = [word.replace(str(data), str(root)) for word in arguments(data, out)]
    (root / "masks" / "i0.png").write_bytes((root / "masks" / "i1.png").read_bytes())
    assert command(*words, log=tmp_path / "log") == 3
    assert "labelled: 1 of 4 changed: i0" in (tmp_path / "log.err").read_text()


def test_class_weights_that_a_training_measured_are_no_other_settings(data, tmp_path):
    out = tmp_path / "out"
    asked = arguments(data, out, **{"method.class_weights": "auto", "train.steps": 2})
    assert command(*asked, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
    assert command(*asked, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")} == before
    plan = Plan.read(out)
    first = Run(plan.directory(plan.cells()[0])).config.read_text()
    assert "class_weights: [" in first


def test_a_budget_ends_it_cleanly_and_two_processes_share_it(data, whole, tmp_path):
    out = tmp_path / "out"
    assert command(*arguments(data, out, "--budget", "0.01"), log=tmp_path / "log") == 75
    assert "trainings of 6 are left" in (tmp_path / "log.err").read_text()
    halves = [
        start_command(*arguments(data, out, "--shard", f"{index}/2"), log=tmp_path / f"half{index}") for index in (0, 1)
    ]
    assert [finish(half) for half in halves] == [0, 0]
    assert command(*arguments(data, out), log=tmp_path / "log") == 0
    assert read_tables(out) == read_tables(whole)


def test_all_arms_are_tuned_alike_on_held_out_labels(tmp_path):
    data, out = folders.write(tmp_path / "data", labeled=6), tmp_path / "out"
    given = arguments(data, out, "--tune", "optim.lr=1e-9,0.01", train__steps=4)
    given[given.index("--arms") + 1] = "labels,ood"
    assert command(*given, "--budget", "0.02", log=tmp_path / "log") == 75
    assert "tuning is not finished" in (tmp_path / "log.err").read_text()
    assert command(*given, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    tuned = json.loads((out / "results.json").read_text())["tuned"]
    assert tuned.keys() == {"labels", "ood"}
    for arm in tuned.values():
        assert arm["chosen"] == max(arm["tried"], key=lambda trial: trial["miou"])["settings"]
    plan = Plan.read(out)
    assert all([f"optim.lr={plan.load(c).values()['optim.lr']:g}"] == tuned[c.arm.name]["chosen"] for c in plan.cells())
    tried = read_facts(next((out / "tuning").glob("*/runs/labels/seed-0-fold-0")))
    assert tried is not None
    assert tried.looks == 1
    before = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    assert command(*given, log=tmp_path / "log") == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")} == before
    assert command(*arguments(data, out), log=tmp_path / "log2") == 2
    assert "--tune: optim.lr=1e-9,0.01 there, none now" in (tmp_path / "log2.err").read_text()


def test_folds_evaluate_every_labelled_image_once(data, tmp_path):
    out = tmp_path / "out"
    given = arguments(data, out, "--folds", "2", "--seeds", "1")
    given = [word for place, word in enumerate(given) if not (word == "2" and given[place - 1] == "--seeds")]
    given.remove("--seeds")
    assert command(*given, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    results = json.loads((out / "results.json").read_text())
    assert results["folds"] == 2
    assert results["differences"][0]["images"] == 4
    assert "4 images are too few for any verdict; it needs 10" in results["differences"][0]["notes"]


def test_runs_that_were_made_earlier(data, tmp_path):
    for seed in (0, 1):
        for name, values in (("labels", {"method__name": "supervised"}), ("both", {})):
            train(data, tmp_path / f"{name}{seed}", ood="null", train__steps=4, train__seed=seed, **values)
    runs = [word for name in ("labels", "both") for s in (0, 1) for word in ("--runs", str(tmp_path / f"{name}{s}"))]
    assert command("compare", *runs, "--out", str(tmp_path / "out"), log=tmp_path / "log") == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["arms"] for row in found["differences"]] == [["labels", "unlabeled"]]
    assert command("compare", *runs[:4], "--out", str(tmp_path / "out"), log=tmp_path / "log2") == 2
    assert "differ in their seeds alone" in (tmp_path / "log2.err").read_text()
