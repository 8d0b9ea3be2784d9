"""The pseudo-label store: round trip, refusals, damage, kills, two writers."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.array_files import read_array
from semiovs.errors import DataError
from semiovs.store import PseudoLabelStore, count_classes, verify
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road", "car"])
TEACHER = {"name": "masks", "options": {"suffix": ""}}


def make(root):
    return PseudoLabelStore.create(root, CLASSES, teacher=TEACHER)


def sample(seed, shape=(6, 8)):
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array([0, 1, 2, 255], np.uint8), shape)
    return label, rng.random(shape).astype(np.float32)


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(Path(root).rglob("*")) if p.is_file()}


def test_round_trip(tmp_path):
    store = make(tmp_path / "s")
    label, confidence = sample(0)
    store.add("city/a 1", label, confidence, image_hash="abc")
    store.add("b", label)
    for again in (store, PseudoLabelStore.open(tmp_path / "s", CLASSES)):
        assert again.ids() == ["city/a 1", "b"]
        assert len(again) == 2
        assert "b" in again
        assert "c" not in again
        assert (again.label("city/a 1") == label).all()
        assert again.label("b").dtype == np.uint8
        assert np.abs(again.confidence("city/a 1") - confidence * 255).max() <= 0.5
        assert again.confidence("b") is None
        assert again.size("b") == (6, 8)
        assert verify(again).ok
    with Image.open(tmp_path / "s/labels/b.png") as image:
        assert image.mode == "P"
        assert tuple(image.getpalette()[3:6]) == CLASSES.shown_colors[1]
    lines = [json.loads(line) for line in (tmp_path / "s/index.jsonl").read_text().splitlines()]
    assert lines[0]["image"] == "abc"
    assert lines[1]["label"] == hashlib.sha256((tmp_path / "s/labels/b.png").read_bytes()).hexdigest()
    meta = json.loads((tmp_path / "s/meta.json").read_text())
    assert meta["vocabulary"]["hash"] == CLASSES.hash
    assert meta["teacher"] == TEACHER


def test_stats_count_the_pixels(tmp_path):
    store = make(tmp_path)
    store.add("a", np.array([[0, 0, 255]], np.uint8))
    store.add("b", np.array([[1]], np.uint8))
    stats = count_classes(PseudoLabelStore.open(tmp_path))
    assert stats.pixels == {"sky": 2, "road": 1, "car": 0}
    assert stats.images_with == {"sky": 1, "road": 1, "car": 0}
    assert (stats.images, stats.ignored) == (2, 1)


@pytest.mark.parametrize(
    "identifier",
    ["", "..", "../x", "a/../../x", "/etc/x", "a//b", "./a", "a\\..\\b", "nul\0", "a/", "\udcff"],
)
def test_ids_stay_inside(tmp_path, identifier):
    store = make(tmp_path / "s")
    with pytest.raises(DataError, match="cannot be an image id"):
        store.add(identifier, sample(0)[0])
    assert set(tree(tmp_path)) == {"s/meta.json", "s/index.jsonl"}


def test_links_out_of_the_store_are_not_followed(tmp_path):
    store = make(tmp_path / "s")
    (tmp_path / "out").mkdir()
    (tmp_path / "s/labels").mkdir()
    (tmp_path / "s/labels/x").symlink_to(tmp_path / "out")
    with pytest.raises(DataError, match="leads out"):
        store.add("x/a", sample(0)[0])
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("label", "confidence", "message"),
    [
        (np.full((2, 2), 3, np.uint8), None, "value 3 on 4 pixels"),
        (np.zeros((2, 2), np.int64), None, "int64"),
        (np.zeros((2, 2, 1), np.uint8), None, "shape"),
        (np.zeros((0, 2), np.uint8), None, "shape"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.float32), "but its label is"),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 1.5, np.float32), r"within \[0, 1\]"),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), np.nan, np.float32), r"within \[0, 1\]"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, label, confidence, message):
    store = make(tmp_path)
    with pytest.raises(DataError, match=message):
        store.add("a", label, confidence)
    assert len(store) == 0
    assert set(tree(tmp_path)) == {"meta.json", "index.jsonl"}


def test_other_classes_are_refused_by_name(tmp_path):
    make(tmp_path).add("a", sample(0)[0])
    with pytest.raises(DataError, match="class 1 is 'road' there, 'lane' wanted"):
        PseudoLabelStore.open(tmp_path, Vocabulary.of(["sky", "lane", "car"]))
    with pytest.raises(DataError, match="3 classes there, 1 wanted"):
        PseudoLabelStore.open(tmp_path, Vocabulary.of(["sky"]))


def test_concepts_matter_to_who_writes_and_not_to_who_reads(tmp_path):
    concepts = Vocabulary(CLASSES.names, (("sky",), ("road", "street"), ("car",)))
    label = sample(0)[0]
    PseudoLabelStore.create(tmp_path, concepts, teacher=TEACHER).add("a", label)
    assert (PseudoLabelStore.open(tmp_path, CLASSES).label("a") == label).all()
    with pytest.raises(DataError, match=f"other concepts .*{concepts.hash} there, {CLASSES.hash} now"):
        PseudoLabelStore.create(tmp_path, CLASSES, teacher=TEACHER)
    assert len(PseudoLabelStore.create(tmp_path, concepts, teacher=TEACHER)) == 1


def test_an_empty_store_may_get_another_teacher(tmp_path):
    make(tmp_path)
    other = Vocabulary.of(["a", "b"])
    PseudoLabelStore.create(tmp_path, other, teacher={"name": "sed"}).add("x", np.ones((1, 1), np.uint8))
    store = PseudoLabelStore.open(tmp_path, other)
    assert (store.ids(), store.teacher) == (["x"], {"name": "sed"})


def test_another_teacher_or_an_existing_store_is_refused(tmp_path):
    make(tmp_path).add("a", sample(0)[0])
    with pytest.raises(DataError, match="name: 'masks' there, 'sed' now"):
        PseudoLabelStore.create(tmp_path, CLASSES, teacher={**TEACHER, "name": "sed"})
    with pytest.raises(DataError, match="already"):
        PseudoLabelStore.create(tmp_path, CLASSES, teacher=TEACHER, resume=False)


def test_what_is_not_a_store_is_said(tmp_path):
    with pytest.raises(DataError, match="not a pseudo-label store"):
        PseudoLabelStore.open(tmp_path / "missing")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds 'a\.jpg'"):
        make(tmp_path / "photos")
    with pytest.raises(DataError, match="a file, where a folder"):
        make(tmp_path / "photos/a.jpg")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 9}', '{"format": 1}', '{"format":1,"vocabulary":{"names":[]}}']
)
def test_damaged_meta(tmp_path, text):
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(DataError, match=r"meta\.json"):
        PseudoLabelStore.open(tmp_path)


@pytest.mark.parametrize("part", ["labels", "confidence"])
def test_a_damaged_file_is_never_read(tmp_path, part):
    store = make(tmp_path)
    store.add("a", *sample(0))
    store.add("b", *sample(1))
    path = tmp_path / part / "a.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png: damaged"):
        store.label("a") if part == "labels" else store.confidence("a")
    (tmp_path / part / "b.png").unlink()
    (tmp_path / part / "stray.png").write_bytes(b"")
    report = verify(store)
    assert not report.ok
    assert (report.damaged, report.missing, report.stray) == (["a"], ["b"], [f"{part}/stray.png"])


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    store = make(tmp_path)
    store.add("a", *sample(0))
    for part in ("labels", "confidence"):
        path = store.path(part, "a")
        path.unlink()
        os.mkfifo(path)
    assert verify(store).damaged == ["a"]
    with pytest.raises(DataError, match=r"a\.png: cannot be read \(a pipe or device, no file\)"):
        store.label("a")
    with pytest.raises(DataError, match="a pipe or device"):
        read_array(store.path("labels", "a"), "scores", lambda *_: None)


def test_a_removed_label_is_done_again(tmp_path):
    store = make(tmp_path)
    store.add("a", *sample(0))
    (tmp_path / "labels/a.png").unlink()
    store = make(tmp_path)
    assert "a" not in store
    with pytest.raises(DataError, match="run `semiovs label` again"):
        store.label("a")
    store.add("a", *sample(0))
    assert "a" in store
    assert len(PseudoLabelStore.open(tmp_path)) == 1


def test_replacing_a_label_drops_the_old_confidence(tmp_path):
    store = make(tmp_path)
    store.add("a", *sample(0))
    store.add("a", sample(1)[0])
    assert store.confidence("a") is None
    assert verify(store) == verify(PseudoLabelStore.open(tmp_path))
    assert verify(store).stray == []


@pytest.mark.parametrize("cut", [1, 2, 30, 90])
def test_a_torn_last_line_is_dropped_and_the_image_done_again(tmp_path, cut):
    whole = make(tmp_path / "whole")
    torn = make(tmp_path / "torn")
    for store in (whole, torn):
        store.add("a", *sample(0))
        store.add("b", *sample(1))
    index = tmp_path / "torn/index.jsonl"
    data = index.read_bytes()
    index.write_bytes(data[:-cut])
    (tmp_path / "torn/labels/c.png.tmp-host-1-00").write_bytes(b"half")
    torn = make(tmp_path / "torn")
    assert torn.ids() == ["a"]
    assert index.read_bytes() == data[: data.index(b"\n") + 1]
    assert "labels/c.png.tmp-host-1-00" in verify(torn).stray
    torn.add("b", *sample(1))
    (tmp_path / "torn/labels/c.png.tmp-host-1-00").unlink()
    assert tree(tmp_path / "torn") == tree(tmp_path / "whole")


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    store = make(tmp_path)
    for i in range(3):
        store.add(str(i), *sample(i))
    index = tmp_path / "index.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(lines[0] + b'{"id": "1"}\n' + lines[2])
    with pytest.raises(DataError, match=r"index\.jsonl:2: damaged line"):
        PseudoLabelStore.open(tmp_path)


def test_a_store_of_another_user_can_be_read(tmp_path):
    store = make(tmp_path)
    store.add("a", *sample(0))
    index = tmp_path / "index.jsonl"
    torn = index.read_bytes() + b'{"id'
    index.write_bytes(torn)
    index.chmod(0o444)
    assert PseudoLabelStore.open(tmp_path).ids() == ["a"]
    if os.geteuid():
        assert index.read_bytes() == torn


def test_a_disk_that_is_full_leaves_no_torn_line(tmp_path, monkeypatch):
    store = make(tmp_path)
    store.add("a", *sample(0))
    before = (tmp_path / "index.jsonl").read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    with pytest.raises(DataError, match="cannot be written"):
        store.add("b", *sample(1))
    monkeypatch.undo()
    assert (tmp_path / "index.jsonl").read_bytes() == before
    assert "b" not in store
    store.add("b", *sample(1))
    assert PseudoLabelStore.open(tmp_path).ids() == ["a", "b"]


_WRITER = """
import sys, time
import numpy as np
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary
root, first, last, step = sys.argv[1], *map(int, sys.argv[2:])
store = PseudoLabelStore.create(root, Vocabulary.of(["sky", "road", "car"]), teacher={"name": "test"})
print("ready", flush=True)
for i in range(first, last, step):
    if f"d/{i}" not in store:
        rng = np.random.default_rng(i)
        label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (40, 50))
        store.add(f"d/{i}", label, rng.random((40, 50)).astype(np.float32))
"""


def writer(root, first, last, step=1):
    command = [sys.executable, "-c", _WRITER, str(root), str(first), str(last), str(step)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_killed_at_any_moment_and_resumed_equals_uninterrupted(tmp_path):
    images = 60
    assert writer(tmp_path / "clean", 0, images).wait() == 0
    killed = 0
    for delay in (0.0, 0.02, 0.05):
        process = writer(tmp_path / "killed", 0, images)
        process.stdout.readline()
        time.sleep(delay)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed
    assert writer(tmp_path / "killed", 0, images).wait() == 0
    clean, resumed = tree(tmp_path / "clean"), tree(tmp_path / "killed")
    assert resumed == clean
    assert verify(PseudoLabelStore.open(tmp_path / "killed")).ok


def test_two_processes_write_one_store(tmp_path):
    writers = [writer(tmp_path, first, 80, 2) for first in (0, 1)]
    assert [process.wait() for process in writers] == [0, 0]
    store = PseudoLabelStore.open(tmp_path)
    assert sorted(store.ids()) == sorted(f"d/{i}" for i in range(80))
    assert verify(store).ok
