"""Pools on disk: odd names and broken entries, chunks that are damaged, out of date or missing, a scan that is stopped."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from semiovs.errors import DataError, UsageError
from semiovs.images.record import Record
from semiovs.ovs.masks import MasksTeacher
from semiovs.select import scan_table as scans
from semiovs.select.candidates import InvalidEntry, list_candidates
from semiovs.select.scan import Examiner, scan_pool
from semiovs.select.scan_table import UNANSWERED, UNREADABLE, ScanTable, decode_entry, encode_entry
from semiovs.vocab import Vocabulary
from unit import tars


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for i in range(20):
        save(tmp_path / f"pool/{i % 3}/{i:02d}.png", i)
    return tmp_path / "pool"


def ids(given, **more):
    return [image.id if isinstance(image, Record) else image.where for image in list_candidates([given], **more)]


def test_a_messy_folder(tmp_path):
    for name in ("b.png", "a.JPG", "a.png", ".hidden.png", "sub/ä b.webp", ".dir/x.png", "out/sheet.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/up").symlink_to(tmp_path / "sub")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = ids(tmp_path, skip=tmp_path / "out")
    assert found == ["a", "a.png", "b", "gone", "other/up/ä b", "sub/ä b"]
    assert found == ids(tmp_path, skip=tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_names_that_are_no_text(tmp_path):
    save(tmp_path / "good.png")
    odd = os.fsencode(tmp_path) + b"/bad\xff.png"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(b"x")
    found = list(list_candidates([tmp_path]))
    assert [type(image) for image in found] == [InvalidEntry, Record]
    assert found[0].why.isascii()
    assert decode_entry(encode_entry(found[0])) == (found[0], found[0].why)


def test_a_list_with_bad_lines(tmp_path):
    save(tmp_path / "x.png")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfx.png\r\n\r\n../../etc/x.png\r\nno image\r\n\xff\r\n")
    found = list(list_candidates([tmp_path / "list.txt"]))
    assert [image.where.rpartition(":")[2] for image in found if isinstance(image, InvalidEntry)] == ["3", "4", "5"]
    assert found[0].image == tmp_path / "x.png"


def test_pools_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match="nothing to choose from"):
        list(list_candidates([]))
    with pytest.raises(DataError, match="no such folder or list"):
        list(list_candidates([tmp_path / "nowhere"]))
    (tmp_path / "a/x").mkdir(parents=True)
    (tmp_path / "b/x").mkdir(parents=True)
    with pytest.raises(UsageError, match="one name"):
        list(list_candidates([tmp_path / "a/x", tmp_path / "b/x"]))


def test_lines_keep_records(tmp_path):
    record = Record("a/b", tmp_path / "a b.png", None, "flickr", "CC0")
    assert decode_entry(encode_entry(record, "damaged")) == (record, "damaged")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(scans, "CHUNK", 6)


def scanned(folder, out, **more):
    examiner = Examiner(Vocabulary.of(["a"]))
    scan = ScanTable(out, "pool", examiner.settings)
    return scan, scan_pool(scan, list_candidates([folder]), examiner, threads=2, **more)


@pytest.mark.usefixtures("small_chunks")
def test_a_stopped_scan_goes_on(folder, tmp_path):
    asked = iter([False] * 14 + [True])
    _, first = scanned(folder, tmp_path / "s", stop=lambda: next(asked))
    assert (first.stopped, first.made) == (True, 12)
    _, second = scanned(folder, tmp_path / "s")
    assert (second.made, second.listed) == (8, 20)
    scan, third = scanned(folder, tmp_path / "s")
    assert third.made == 0
    whole, once = scanned(folder, tmp_path / "whole")
    assert third.marks == once.marks
    for name, values in vars(whole.rows(once.marks)).items():
        np.testing.assert_array_equal(values, getattr(scan.rows(third.marks), name))


@pytest.mark.usefixtures("small_chunks")
def test_shards_make_the_chunks_of_all(folder, tmp_path):
    for index in range(3):
        scanned(folder, tmp_path / "s", shard=(index, 3))
    assert scanned(folder, tmp_path / "s")[1].made == 0
    with pytest.raises(UsageError, match="shards of 3"):
        scanned(folder, tmp_path / "s", shard=(3, 3))


@pytest.mark.usefixtures("small_chunks")
def test_chunks_that_do_not_fit_are_made_again(folder, tmp_path):
    scan, done = scanned(folder, tmp_path / "s")
    scan.path(1).write_bytes(scan.path(1).read_bytes()[:-40])
    with pytest.raises(DataError, match="pool-000001"):
        scan.rows(done.marks)
    assert scanned(folder, tmp_path / "s")[1].made == 6
    save(folder / "2/17.png", 99)
    (folder / "2/17.png").open("ab").write(b"\0")  # of another size now
    assert scanned(folder, tmp_path / "s")[1].made == 2  # the last chunk
    for path in sorted((folder / "2").iterdir()):
        path.unlink()
    scanned(folder, tmp_path / "s")
    assert not scan.path(3).exists()


def test_broken_images_are_rows_too(folder, tmp_path):
    (folder / "0/broken.png").write_bytes(b"\x89PNG")
    scan, done = scanned(folder, tmp_path / "s")
    rows = scan.rows(done.marks)
    assert (rows.status == UNREADABLE).sum() == 1
    wrong = json.loads(scan.texts(0, done.marks[0])[int(np.flatnonzero(rows.status)[0])])
    assert "broken.png" in wrong["why"]


@pytest.mark.usefixtures("small_chunks")
def test_answers_that_changed_are_asked_again(folder, tmp_path):
    """A store or folder of masks that was incomplete, or was corrected since: only the chunks of those images are made again."""
    for path in sorted(folder.rglob("*.png"))[:10]:
        mask = tmp_path / "masks" / path.relative_to(folder)
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20, 24), np.uint8)).save(mask)
    vocabulary = Vocabulary.of(["sky", "road"])

    def look():
        examiner = Examiner(vocabulary, MasksTeacher(tmp_path / "masks"))
        scan = ScanTable(tmp_path / "s", "pool", examiner.settings)
        done = scan_pool(scan, list_candidates([folder]), examiner)
        return scan.rows(done.marks), done.made

    rows, _ = look()
    assert (rows.status == UNANSWERED).sum() == 10
    assert look()[1] == 0
    last = folder / "2/17.png"
    Image.fromarray(np.ones((20, 24), np.uint8)).save(tmp_path / "masks" / "17.png")
    rows, made = look()
    assert (made, (rows.status == UNANSWERED).sum()) == (2, 9)
    assert rows.presence[-1].tolist() == [0, 255], last


def test_a_tar_that_changed_is_looked_at_again(tmp_path):
    scanned(tars.write(tmp_path / "a.tar", [("x.png", tars.picture(1))]), tmp_path / "s")
    path = tars.write(tmp_path / "a.tar", [("x.png", tars.picture(2))])
    os.utime(path, ns=(1, 1))
    scan, done = scanned(path, tmp_path / "s")
    assert done.made == 1
    assert bytes(scan.rows(done.marks).digest[0]) == hashlib.sha256(tars.picture(2)).digest()


def test_data_sets_as_pools(tmp_path):
    """Images and masks beside each other: masks are no images to choose from; two folders ``images`` are two pools."""
    for name in ("a/images/x.png", "a/labels/x.png", "b/images/x.png"):
        save(tmp_path / name)
    assert ids(tmp_path / "a") == ["x"]
    assert ids(tmp_path / "a", whole=True) == ["images/x", "labels/x"]
    assert [image.id for image in list_candidates([tmp_path / "a/images", tmp_path / "b"])] == ["a/x", "b/x"]
    assert [image.id for image in list_candidates([tmp_path / "a/images", tmp_path / "b/images"])] == ["a/x", "b/x"]
