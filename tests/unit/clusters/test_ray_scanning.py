"""The chunks that a cluster scans: which, by whom, and that tables are those of one process. No cluster is started."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semiovs.clusters import ray_scanning
from semiovs.errors import DataError
from semiovs.ovs.masks import MasksTeacher
from semiovs.select import scan_table
from semiovs.select.candidates import list_candidates
from semiovs.select.scan import Examiner, ImageScan, scan_pool
from semiovs.select.scan_table import ScanTable
from semiovs.vocab import Vocabulary


@pytest.fixture
def serial(monkeypatch):
    """Blocks are done here, the last one first; chunks hold six images."""

    def run(job, numbers, **how):
        tools = job.begin()
        return ((number, job.do(tools, number)) for number in reversed(numbers))

    monkeypatch.setattr(scan_table, "CHUNK", 6)
    monkeypatch.setattr(ray_scanning, "join_cluster", lambda gpus, workers: nullcontext(workers or 1))
    monkeypatch.setattr(ray_scanning, "run_blocks", run)


@pytest.fixture
def examiner(tmp_path) -> Examiner:
    for number in range(20):
        for folder, side in (("pool", 3), ("masks", 0)):
            path = tmp_path / folder / f"{number:02}.png"
            path.parent.mkdir(exist_ok=True)
            shape = (20, 24, side) if side else (20, 24)
            pixels = np.random.default_rng(number).integers(0, 256 if side else 2, shape, np.uint8)
            Image.fromarray(pixels).save(path)
    return Examiner(Vocabulary.of(["a", "b"]), MasksTeacher(root=tmp_path / "masks"), {"kind": "masks"})


def scans(examiner, out, pool):
    bare = examiner.without_teacher()
    return [
        ImageScan(ScanTable(out, "pool", examiner.settings), list(list_candidates([pool]))),
        ImageScan(ScanTable(out, "against", bare.settings), list(list_candidates([pool]))[:7], asked=False),
    ]


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.usefixtures("serial")
def test_the_tables_are_those_of_one_process(examiner, tmp_path):
    for scan in scans(examiner, tmp_path / "alone", tmp_path / "pool"):
        scan_pool(scan.table, scan.images, scan.examiner(examiner))
    told = []
    there = scans(examiner, tmp_path / "ray", tmp_path / "pool")
    looked = ray_scanning.fill_on_ray(there, examiner, lambda: examiner, progress=lambda *n: told.append(n))
    assert looked == [20, 7]
    assert told[-1] == (27, 27)
    assert files(tmp_path / "ray") == files(tmp_path / "alone")
    assert ray_scanning.fill_on_ray(there, examiner, lambda: pytest.fail("nothing is left")) == [0, 0]
    assert scan_pool(there[0].table, there[0].images, examiner).made == 0


@pytest.mark.usefixtures("serial")
def test_a_shard_and_a_stop(examiner, tmp_path):
    pool, _ = scans(examiner, tmp_path / "ray", tmp_path / "pool")
    assert ray_scanning.fill_on_ray([pool], examiner, lambda: examiner, shard=(1, 2)) == [6 + 2]
    assert set(files(tmp_path / "ray")) == {"pool-000001.npz", "pool-000003.npz"}
    assert ray_scanning.fill_on_ray([pool], examiner, lambda: examiner, stop=lambda: True) == [6]
    assert "pool-000002.npz" in files(tmp_path / "ray")


@pytest.mark.usefixtures("serial")
def test_a_machine_with_another_teacher_is_refused(examiner, tmp_path):
    other = replace(examiner, identity={"kind": "other"})
    with pytest.raises(DataError, match="another teacher, encoder or labels"):
        ray_scanning.fill_on_ray(scans(examiner, tmp_path / "ray", tmp_path / "pool"), examiner, lambda: other)
    assert not list(tmp_path.glob("ray/pool-*"))
