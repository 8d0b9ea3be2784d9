"""On a Ray cluster, also one that loses a machine, a job ends in the very bytes of a single process."""

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
MACHINE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
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


@pytest.fixture(scope="module")
def cluster():
    """A head of one core, which all tests of this file join."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]))
        found = cluster_utils.Cluster(initialize_head=True, head_node_args={**MACHINE, "include_dashboard": False})
        yield found
        found.shutdown()


@pytest.fixture
def joined(cluster, monkeypatch) -> list[str]:
    """Options that make a verb run on the cluster."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return ["--engine", "ray", "--workers", "1"]


@pytest.mark.slow
def test_a_machine_is_lost_and_the_store_is_the_same(images, clean, cluster, tmp_path):
    out, other = tmp_path / "store", cluster.add_node(**MACHINE)
    job = start([*words(images, out), "--engine", "ray", "--json"], RAY_ADDRESS=cluster.address)
    until = time.monotonic() + 200
    while lines(out) < 40 and job.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    there = lines(out)
    cluster.remove_node(other, allow_graceful=False)
    answer, said = job.communicate(timeout=300)
    assert job.returncode == 0, said
    assert 40 <= there < IMAGES, "it was lost in the middle of the work"
    assert tree(out) == clean
    report = json.loads(answer)
    assert (report["listed"], report["labeled"], report["already"], report["failed"]) == (IMAGES, IMAGES, 0, [])
    assert report["processes"] == 2


def test_what_goes_wrong_is_said_in_a_line(images, joined, tmp_path, capfd):
    out = tmp_path / "store"
    (ours := tmp_path / "images").mkdir()
    for number in (1, 2, 3):
        (ours / f"{number:03}.png").write_bytes((images / "images" / f"{number:03}.png").read_bytes())
    (ours / "002.png").write_bytes(b"no picture")
    command = words(images, out)
    command[command.index("--images") + 1] = str(ours)
    assert main([*command, *joined]) == 3
    said = capfd.readouterr().err
    assert f"{ours / '002.png'}: " in said
    assert "Traceback" not in said
    assert main([*command, *joined, "--on-error", "skip", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert [item["id"] for item in report["failed"]] == ["002"]
    assert report["labeled"] + report["already"] == 2
    assert main([*command, "--workers", "2"]) == 2
    assert "--workers: for --engine ray" in capfd.readouterr().err
    assert main([*command, "--engine", "dask"]) == 2


@pytest.fixture
def labeled(images, tmp_path) -> Path:
    """A data set of 70 images with masks, two of which are copies, on two sides of a split."""
    root = tmp_path / "labeled"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(70):
        same = images / "images" / f"{60 if number == 7 else number:03}.png"
        (root / "images" / f"{number:03}.png").write_bytes(same.read_bytes())
        mask = np.full((40, 48), number % 2, np.uint8)
        mask[: number % 20] = 1 - number % 2
        Image.fromarray(mask).save(root / "labels" / f"{number:03}.png")
    names = [f"images/{number:03}.png labels/{number:03}.png\n" for number in range(70)]
    for name, part in (("train", names[:50]), ("val", names[50:])):
        (root / f"{name}.txt").write_text("".join(part))
    values = {"root": str(root), "classes": ["dark", "bright"], "labeled": "train.txt", "val": "val.txt"}
    (root / "semiovs.yaml").write_text(json.dumps({"data": values}))
    return root


def test_data_check_reports_the_same(labeled, joined, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(labeled)  # the machines of a cluster work elsewhere
    Path("images/033.png").write_bytes(b"no picture")
    Image.fromarray(np.full((40, 48), 7, np.uint8)).save("labels/041.png")
    out, answers = tmp_path / "report", []
    for options in ([], joined):
        assert main(["data", "check", "semiovs.yaml", "--json", "--out", str(out), *options]) == 3
        told = capfd.readouterr()
        assert "Traceback" not in told.err
        answers.append((told.out, tree(out)))
    assert answers[0] == answers[1]
    kinds = {row["kind"] for row in json.loads(answers[1][0])["list"]}
    assert {"image-unreadable", "mask-values", "leak-exact"} <= kinds


def test_select_chooses_the_same(images, labeled, joined, tmp_path, capfd):
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(300):
        (pool / f"{number:03}.png").write_bytes((images / "images" / f"{number:03}.png").read_bytes())
    (pool / "280.png").write_bytes(b"no picture")
    files, reports = [], []
    for options in ([], joined):
        out = tmp_path / ("ray" if options else "local")
        ask = ["--from", str(pool), "--teacher", "masks", "--set", f"root={images / 'scores'}", "--budget", "40"]
        command = ["select", str(labeled / "semiovs.yaml"), *ask, "--out", str(out), "--json", *options]
        assert main(command) == 0, capfd.readouterr().err
        reports.append(json.loads(capfd.readouterr().out))
        files.append({name: data for name, data in tree(out).items() if name not in ("select.json", "report.html")})
    assert files[0] == files[1]
    assert {"manifest.jsonl", "dropped.jsonl", "scan/pool-000001.npz", "scan/labeled-000000.npz"} <= set(files[1])
    for report in reports:
        del report["seconds"], report["out"], report["next"]
    assert reports[0] == reports[1]
    assert (reports[1]["chosen"], reports[1]["scanned"], reports[1]["unreadable"]) == (40, 300, 1)
    assert reports[1]["dropped"]["leak"] >= 60
