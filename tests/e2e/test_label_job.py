"""A labelling job that is killed, stopped, doubled or cut in shards ends in the very bytes of one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e import toy_label
from e2e.launcher import finish, kill, ranks, start, wait_until
from e2e.toy_label import lines, options, pictures, tree
from semiovs.cli.app import main
from semiovs.store import PseudoLabelStore, verify

IMAGES, KILLS = 120, 20


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("data") / "images", IMAGES)


def labeled(*arguments: str, log: Path) -> int:
    code = finish(start(toy_label.label, *arguments, log=log))
    assert code == 0, log.with_name(f"{log.name}.err").read_text()
    return code


@pytest.fixture(scope="module")
def clean(images, tmp_path_factory) -> dict[str, bytes]:
    """The store of a job that never stopped."""
    out = tmp_path_factory.mktemp("clean") / "store"
    labeled(*options(images, out), "--batch-size", "4", log=out.with_name("log"))
    assert len(PseudoLabelStore.open(out)) == IMAGES
    assert PseudoLabelStore.open(out).ids() == sorted(PseudoLabelStore.open(out).ids())
    return tree(out)


@pytest.mark.slow
def test_killed_at_twenty_points_and_resumed_equals_uninterrupted(images, clean, tmp_path):
    rng, out, log = random.Random(0), tmp_path / "store", tmp_path / "log"
    arguments = [*options(images, out, delay=0.004), "--batch-size", "4", "--threads", "2"]
    killed, seen, points = 0, 0, set()
    for _ in range(KILLS):
        process = start(toy_label.label, *arguments, log=log)
        goal = min(lines(out) + rng.randint(0, 3), IMAGES)
        wait_until(lambda goal=goal: lines(out) >= goal, process)
        time.sleep(rng.random() * 0.01)
        killed += process.is_alive()
        kill(process)
        assert lines(out) >= seen, "what was in the store stays"
        seen = lines(out)
        points.add(seen)
    assert killed == KILLS
    assert len(points) >= 8
    assert seen < IMAGES
    labeled(*arguments, log=log)
    assert tree(out) == clean
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    labeled(*arguments, log=log)  # nothing is left: nothing is touched
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_stopped_politely_and_resumed(images, clean, tmp_path, number, code):
    out, log = tmp_path / "store", tmp_path / "log"
    arguments = [*options(images, out, delay=0.01), "--batch-size", "4"]
    process = start(toy_label.label, *arguments, log=log)
    wait_until(lambda: lines(out) >= 8, process)
    os.kill(process.pid, number)
    assert finish(process) == code
    said = log.with_name("log.err").read_text()
    assert f"stopped by {number.name}; {lines(out)} of {IMAGES} images are done" in said
    assert "Traceback" not in said
    assert verify(PseudoLabelStore.open(out)).ok
    assert not (out / "incoming").is_dir() or not list((out / "incoming").iterdir())
    labeled(*options(images, out), "--batch-size", "4", log=log)
    assert tree(out) == clean


def test_the_same_job_twice_at_once(images, clean, tmp_path):
    out = tmp_path / "store"
    arguments = [*options(images, out, delay=0.003), "--batch-size", "2"]
    both = [start(toy_label.label, *arguments, log=tmp_path / f"log{i}") for i in range(2)]
    assert [finish(process) for process in both] == [0, 0]
    assert tree(out) == clean
    assert not (out / "incoming").exists()


def test_two_teachers_never_mix(images, clean, tmp_path):
    out = tmp_path / "store"
    first = start(toy_label.label, *options(images, out, delay=0.003), log=tmp_path / "log0")
    second = start(toy_label.label, *options(images, out), "--set", "kind=b", log=tmp_path / "log1")
    codes = [finish(first), finish(second)]
    assert sorted(codes) == [0, 3]
    said = (tmp_path / f"log{codes.index(3)}.err").read_text()
    assert "another teacher" in said
    assert len(said.strip().splitlines()) == 1
    store = PseudoLabelStore.open(out)
    assert store.teacher["kind"] == "ab"[codes.index(0)]
    assert {p: d for p, d in tree(out).items() if p != "meta.json"} == {
        p: d for p, d in clean.items() if p != "meta.json"
    }


@pytest.mark.parametrize("together", [True, False])
def test_two_shards(images, clean, tmp_path, together, capsys):
    outs = [tmp_path / "store"] * 2 if together else [tmp_path / "a", tmp_path / "b"]
    both = [
        start(
            toy_label.label, *options(images, out), "--batch-size", "4", "--shard", f"{i}/2", log=tmp_path / f"log{i}"
        )
        for i, out in enumerate(outs)
    ]
    assert [finish(process) for process in both] == [0, 0]
    if not together:
        assert [len(PseudoLabelStore.open(out)) for out in outs] == [IMAGES // 2] * 2
        assert main(["labels", "merge", str(tmp_path / "store"), *map(str, outs)]) == 0
        assert f"{IMAGES} images = 0 that were there + {IMAGES} new; 0 were double" in capsys.readouterr().out
    assert tree(tmp_path / "store") == clean


def test_ranks_share_a_shard(images, clean, tmp_path):
    out = tmp_path / "store"
    assert ranks(toy_label.label, *options(images, out), "--batch-size", "4", directory=tmp_path) == [0, 0]
    assert tree(out) == clean
    assert f"{IMAGES} images labelled" in (tmp_path / "rank0.log").read_text()
    assert (tmp_path / "rank1.log").read_text() == ""
    assert (tmp_path / "rank1.log.err").read_text() == ""


def test_a_disk_that_fills_up_loses_nothing(images, clean, tmp_path):
    out, log = tmp_path / "store", tmp_path / "log"
    limit = len(clean["index.jsonl"]) // 3
    code = finish(start(toy_label.small_files, limit, *options(images, out), "--on-error", "skip", log=log))
    assert code == 3
    said = log.with_name("log.err").read_text().strip().splitlines()
    assert len(said) == 1
    assert "cannot be written" in said[0]
    store = PseudoLabelStore.open(out)
    assert (out / "index.jsonl").read_bytes().endswith(b"\n")
    assert 0 < len(store) < IMAGES
    assert verify(store).ok
    labeled(*options(images, out), log=log)
    assert tree(out) == clean


@pytest.mark.slow
def test_torchrun_shares_the_list_over_its_processes(images, tmp_path):
    names = ["--images", str(images), "--classes", "dark,bright"]
    masks = tmp_path / "masks"
    for path in images.rglob("*.png"):
        target = masks / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        _mask(path, target)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "semiovs"]
    done = subprocess.run(
        [*torchrun, "label", *names, "--from", str(masks), "--out", str(tmp_path / "two"), "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"processes": 2') == 1
    assert f'"labeled": {IMAGES}' in done.stdout
    assert main(["label", *names, "--from", str(masks), "--out", str(tmp_path / "one")]) == 0
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def _mask(image: Path, target: Path) -> None:
    import numpy as np
    from PIL import Image

    Image.fromarray((np.asarray(Image.open(image)).mean(2) > 127).astype(np.uint8)).save(target)
