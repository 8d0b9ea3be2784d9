"""Labelling on a Ray cluster of two machines, one of which is lost, ends in the very bytes of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2e.toy_label import lines, tree
from semiovs.cli.app import main

IMAGES = 400
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Pictures, and score maps of two classes for the teacher `masks`."""
    root, draw = tmp_path_factory.mktemp("ray"), np.random.default_rng(0)
    for folder in ("images", "scores"):
        (root / folder).mkdir()
    for number in range(IMAGES):
        Image.fromarray(draw.integers(0, 256, (40, 48, 3), np.uint8)).save(root / "images" / f"{number:03}.png")
        bright = draw.integers(0, 256, (10, 12), np.uint8)
        np.savez(root / "scores" / f"{number:03}.npz", scores=np.stack([255 - bright, bright]))
    return root


def words(images: Path, out: Path) -> list[str]:
    ask = ["--teacher", "masks", "--from", str(images / "scores"), "--batch-size", "4", "--threads", "1"]
    return ["label", "--images", str(images / "images"), "--classes", "dark,bright", "--out", str(out), *ask]


@pytest.fixture(scope="module")
def clean(images) -> dict[str, bytes]:
    assert main(words(images, images / "clean")) == 0
    return tree(images / "clean")


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-m", "semiovs", *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )  # fmt: skip


@pytest.fixture
def cluster(monkeypatch):
    """Two machines of one core each, the head with none to spare: actors go to the others."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]))
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    found.other = found.add_node(**node)
    yield found
    found.shutdown()


@pytest.mark.slow
def test_a_machine_is_lost_and_the_store_is_the_same(images, clean, cluster, tmp_path):
    out = tmp_path / "store"
    job = start([*words(images, out), "--engine", "ray", "--json"], RAY_ADDRESS=cluster.address)
    until = time.monotonic() + 200
    while lines(out) < 40 and job.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    there = lines(out)
    cluster.remove_node(cluster.other, allow_graceful=False)
    answer, said = job.communicate(timeout=300)
    assert job.returncode == 0, said
    assert 40 <= there < IMAGES, "it was lost in the middle of the work"
    assert tree(out) == clean
    report = json.loads(answer)
    assert (report["listed"], report["labeled"], report["already"], report["failed"]) == (IMAGES, IMAGES, 0, [])
    assert report["processes"] == 2


def test_what_goes_wrong_is_said_in_a_line(images, tmp_path, capfd):
    out = tmp_path / "store"
    (ours := tmp_path / "images").mkdir()
    for number in (1, 2, 3):
        (ours / f"{number:03}.png").write_bytes((images / "images" / f"{number:03}.png").read_bytes())
    (ours / "002.png").write_bytes(b"no picture")
    command = words(images, out)
    command[command.index("--images") + 1] = str(ours)
    ray = ["--engine", "ray", "--workers", "1"]
    assert main([*command, *ray]) == 3
    said = capfd.readouterr().err
    assert f"{ours / '002.png'}: " in said
    assert "Traceback" not in said
    assert main([*command, *ray, "--on-error", "skip", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert [item["id"] for item in report["failed"]] == ["002"]
    assert report["labeled"] + report["already"] == 2
    assert main([*command, "--workers", "2"]) == 2
    assert "--workers: for --engine ray" in capfd.readouterr().err
    assert main([*command, "--engine", "dask"]) == 2
