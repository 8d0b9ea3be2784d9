"""Packed stores: tars with the bytes of the files, read by offset; the same bytes each time; unpacked to the same store."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from semiovs.errors import DataError, UsageError
from semiovs.images.source import read_source
from semiovs.store import PseudoLabelStore, verify
from semiovs.store.merge import merge_stores
from semiovs.store.pack import pack_store
from semiovs.store.stats import count_bytes, count_classes
from semiovs.vocab import Vocabulary
from unit import tars

CLASSES = Vocabulary.of(["sky", "road", "car"])


def make(root: Path, ids: list[str]) -> PseudoLabelStore:
    """A store; every second image has no confidence."""
    rng = np.random.default_rng(len(ids))
    store = PseudoLabelStore.create(root, CLASSES, teacher={"name": "t"})
    for number, name in enumerate(ids):
        label = rng.choice(np.array([0, 1, 255], np.uint8), (5, 6 + number))
        store.add(name, label, None if number % 2 else rng.random(label.shape), image_hash=f"h{number}")
    store.settle()
    return store


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


IDS = ["d/0", "d/1", "e/IMG.2020.1", "straße/ö 1", "x" * 150, "z"]


@pytest.fixture
def store(tmp_path: Path) -> PseudoLabelStore:
    return make(tmp_path / "s", IDS)


def test_a_packed_store_reads_like_the_store(store: PseudoLabelStore, tmp_path: Path) -> None:
    done = pack_store(store.root, tmp_path / "p", size=4)
    assert (done.images, done.shards, done.kept) == (6, 2, 0)
    assert {"000000.tar", "000001.tar", "index.jsonl", "meta.json", "shards.jsonl"} == set(tree(tmp_path / "p"))
    packed = PseudoLabelStore.open(tmp_path / "p", CLASSES)
    assert packed.ids() == store.ids() == sorted(IDS)
    for name in IDS:
        assert name in packed
        assert (packed.label(name) == store.label(name)).all()
        graded, wanted = packed.confidence(name), store.confidence(name)
        assert (graded is None) == (wanted is None)
        assert wanted is None or (graded == wanted).all()
        assert packed.line(name) == store.line(name)
    assert "other" not in packed
    assert count_classes(packed) == count_classes(store)
    assert count_bytes(tmp_path / "p") == sum(map(len, tree(tmp_path / "p").values()))
    report = verify(packed)
    assert (report.ok, report.checked, report.stray) == (True, 6, [])


def test_plain_tarfile_reads_samples(store: PseudoLabelStore, tmp_path: Path) -> None:
    pack_store(store.root, tmp_path / "p", size=100)
    with tarfile.open(tmp_path / "p/000000.tar") as tar:
        members = tar.getmembers()
        assert all((m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) == (0, 0, 0, "", "", 0o644) for m in members)
        assert all(m.isreg() for m in members)
        assert [m.name for m in members if m.name.startswith("d/")] == [
            "d/0.confidence.png", "d/0.json", "d/0.label.png", "d/1.json", "d/1.label.png",
        ]  # fmt: skip
        held = {m.name: tar.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    for name in IDS:
        assert held[f"{name}.label.png"] == store.path("labels", name).read_bytes()
        assert json.loads(held[f"{name}.json"])["id"] == name


def test_packing_twice_gives_the_same_bytes_and_unpacking_the_same_store(
    store: PseudoLabelStore, tmp_path: Path
) -> None:
    for out, threads in (("p", 1), ("q", 3)):
        pack_store(store.root, tmp_path / out, size=2, threads=threads)
    assert tree(tmp_path / "p") == tree(tmp_path / "q")
    merge_stores(tmp_path / "u", [tmp_path / "p"])
    assert tree(tmp_path / "u") == tree(store.root)
    other = make(tmp_path / "other", ["new"])
    merge_stores(tmp_path / "all", [tmp_path / "p", other.root])
    assert len(PseudoLabelStore.open(tmp_path / "all")) == 7


def test_beside_the_tars_of_the_images(tmp_path: Path) -> None:
    for number, folder in enumerate(("a", "b")):
        members = [(f"{folder}/{i}.png", tars.picture(i)) for i in range(2)]
        tars.write(tmp_path / f"images/{folder}/{number:03d}.tar", members)
    images = read_source(str(tmp_path / "images/*/*.tar"))
    ids = [record.id for record in images]
    store = make(tmp_path / "s", ids)
    done = pack_store(store.root, tmp_path / "p", images=images)
    assert done.shards == 2
    with tarfile.open(tmp_path / "p/b/001.tar") as tar:
        assert {name.partition(".")[0] for name in tar.getnames()} == {"b/0", "b/1"}
    packed = PseudoLabelStore.open(tmp_path / "p")
    assert verify(packed).ok
    assert all((packed.label(name) == store.label(name)).all() for name in ids)
    with pytest.raises(DataError, match=r"--images: no image 'b/001/b/0' \(2 of 4 labels\); name all tars"):
        pack_store(store.root, tmp_path / "q", images=read_source(str(tmp_path / "images/a*/*.tar")))
    (tmp_path / "loose.png").write_bytes(tars.picture())
    with pytest.raises(DataError, match=r"--images: 'loose' lies in no tar"):
        pack_store(store.root, tmp_path / "q", images=read_source(str(tmp_path / "loose.png")))


def test_nothing_is_added_to_a_packed_store_nor_packed_over(store: PseudoLabelStore, tmp_path: Path) -> None:
    pack_store(store.root, tmp_path / "p")
    with pytest.raises(DataError, match=r"p: a packed store, to which nothing is added; .*labels merge NEW"):
        PseudoLabelStore.create(tmp_path / "p", CLASSES, teacher={"name": "t"})
    with pytest.raises(DataError, match="a packed store already; choose another folder"):
        pack_store(store.root, tmp_path / "p")
    with pytest.raises(UsageError, match="is packed already"):
        pack_store(tmp_path / "p", tmp_path / "q")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/000000.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"not empty \(holds '000000.tar'\)"):
        pack_store(store.root, tmp_path / "mine")
    assert tree(tmp_path / "mine") == {"000000.tar": b"x"}


def test_a_damaged_label_is_not_packed(store: PseudoLabelStore, tmp_path: Path) -> None:
    store.path("labels", "d/1").write_bytes(b"")
    with pytest.raises(DataError, match=r"d/1.png: damaged"):
        pack_store(store.root, tmp_path / "p")
    assert not (tmp_path / "p/meta.json").exists()


def test_empty(tmp_path: Path) -> None:
    pack_store(make(tmp_path / "s", []).root, tmp_path / "p")
    assert len(PseudoLabelStore.open(tmp_path / "p")) == 0
    assert verify(PseudoLabelStore.open(tmp_path / "p")).ok


PACK = """
import sys, time
from pathlib import Path
from semiovs.store import pack
write = pack.ShardWriter.finish
def slow(self):
    time.sleep(0.15)
    return write(self)
pack.ShardWriter.finish = slow
pack.pack_store(Path(sys.argv[1]), Path(sys.argv[2]), size=1)
"""


def test_a_killed_job_goes_on_at_the_shard_where_it_was(store: PseudoLabelStore, tmp_path: Path) -> None:
    out = tmp_path / "p"
    job = subprocess.Popen([sys.executable, "-c", PACK, str(store.root), str(out)])
    deadline = time.monotonic() + 60
    while not (out / "packing/000001.tar.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not (out / "meta.json").exists()
    from semiovs.integrity.label_store import check_store  # imports torch, which spawned processes need not

    told = check_store(out)
    assert told.is_whole
    assert [(finding.harm, finding.next) for finding in told.findings] == [
        ("unfinished", "# run `semiovs labels pack` again")
    ]
    with pytest.raises(DataError, match="another store, or the same in other shards"):
        pack_store(store.root, out, size=2)
    finished = len(list(out.glob("packing/*.json")))
    first, second = out / "000000.tar", out / "000001.tar"
    before = first.stat().st_ino
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    assert pack_store(store.root, out, size=1).kept == finished - 1
    assert first.stat().st_ino == before
    pack_store(store.root, tmp_path / "q", size=1)
    assert tree(out) == tree(tmp_path / "q")


def read_all(store: PseudoLabelStore) -> list[int]:
    return [int(store.label(name).sum()) for name in store]


def count_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_in_processes(store: PseudoLabelStore, tmp_path: Path, start: str) -> None:
    pack_store(store.root, tmp_path / "p", size=2)
    packed = PseudoLabelStore.open(tmp_path / "p")
    wanted = read_all(packed)  # the tars are open now
    context = multiprocessing.get_context(start)  # whose `Pool` ends by SIGTERM, for which Ray may have left a handler
    with ProcessPoolExecutor(2, context) as pool:
        assert list(pool.map(read_all, [packed] * 4)) == [wanted] * 4
    assert read_all(pickle.loads(pickle.dumps(packed))) == wanted


def test_in_threads_where_there_is_no_pread(
    store: PseudoLabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.pread")
    pack_store(store.root, tmp_path / "p", size=2)
    packed = PseudoLabelStore.open(tmp_path / "p")
    wanted = read_all(store)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: read_all(packed), range(40))) == [wanted] * 40


def test_in_threads_with_more_tars_than_may_be_open(
    store: PseudoLabelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiovs.store.store_folder._OPEN", 2)
    pack_store(store.root, tmp_path / "p", size=1)
    packed = PseudoLabelStore.open(tmp_path / "p")
    before, wanted = count_open(), read_all(packed)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: read_all(packed), range(40))) == [wanted] * 40
    assert count_open() <= before + 2
