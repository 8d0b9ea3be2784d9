"""Labelling a list: resume, shards, bad images, sizes, memory."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.data.label_source import NamedLabels
from semiovs.errors import DataError, UsageError
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record, by_last_part
from semiovs.ovs import OpenVocabModel
from semiovs.ovs.batch_size import AdaptiveBatchSize
from semiovs.ovs.image_batches import read_batches
from semiovs.ovs.label import label_images
from semiovs.ovs.stored_answers import StoredTeacher
from semiovs.store import PseudoLabelStore, verify
from semiovs.store.writer import LabelAnswer, StoreWriter
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["dark", "bright"])


class Threshold(OpenVocabModel):
    """Class by brightness; counts what it was asked."""

    def __init__(self, memory=100):
        self.asked, self.memory = [], memory

    def scores(self, images, vocabulary, *, ids=None):
        if len(images) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.asked += ids
        bright = [image.float().mean(0) / 255 for image in images]
        return [torch.stack([1 - b, b]) for b in bright]


@pytest.fixture
def records(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for i in range(5):
        path = tmp_path / f"images/{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5 + i, 7, 3), np.uint8)).save(path)
        found.append(Record(f"d/{i}", path))
    return found


def store_at(root):
    return PseudoLabelStore.create(root, CLASSES, teacher={"name": "threshold"})


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(Path(root).rglob("*")) if p.is_file()}


def test_labels_and_confidences_are_the_teachers(tmp_path, records):
    store, seen = store_at(tmp_path / "s"), []
    report = label_images(
        Threshold(), records, CLASSES, store, batch_size=2, progress=lambda done, total: seen.append((done, total))
    )
    assert (report.listed, report.labeled, report.already, report.failed) == (5, 5, 0, [])
    assert seen == sorted(seen)
    assert seen[-1] == (5, 5)
    image = np.asarray(Image.open(records[3].image)).astype(np.float64).mean(2) / 255
    assert (store.label("d/3") == (image > 0.5)).all()
    assert np.abs(store.confidence("d/3") / 255 - np.maximum(image, 1 - image)).max() < 0.003
    assert report.images_per_second > 0
    assert report.as_json()["labeled"] == 5


def test_running_again_does_nothing(tmp_path, records):
    label_images(Threshold(), records, CLASSES, store_at(tmp_path / "s"))
    before = tree(tmp_path / "s")
    teacher = Threshold()
    report = label_images(teacher, records, CLASSES, store_at(tmp_path / "s"))
    assert (report.labeled, report.already, teacher.asked) == (0, 5, [])
    assert tree(tmp_path / "s") == before


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_shards_together_are_the_whole(tmp_path, records, batch_size):
    label_images(Threshold(), records, CLASSES, store_at(tmp_path / "whole"))
    asked = []
    for i in range(3):
        teacher = Threshold()
        label_images(teacher, records, CLASSES, store_at(tmp_path / "s"), shard=(i, 3), batch_size=batch_size)
        asked += teacher.asked
    assert sorted(asked) == [record.id for record in records]
    whole, parts = tree(tmp_path / "whole"), tree(tmp_path / "s")
    assert sorted(whole.pop("index.jsonl").splitlines()) == sorted(parts.pop("index.jsonl").splitlines())
    assert whole == parts


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_wrong_shards(tmp_path, records, shard):
    with pytest.raises(UsageError, match="shard"):
        label_images(Threshold(), records, CLASSES, store_at(tmp_path / "s"), shard=shard)


def test_a_batch_that_is_too_large_is_halved(tmp_path, records):
    label_images(Threshold(), records, CLASSES, store_at(tmp_path / "whole"))
    label_images(Threshold(memory=1), records, CLASSES, store_at(tmp_path / "halves"), batch_size=5)
    assert tree(tmp_path / "whole") == tree(tmp_path / "halves")
    with pytest.raises(DataError, match=r"0\.png: 7x5 pixels do not fit the memory"):
        label_images(Threshold(memory=0), records, CLASSES, store_at(tmp_path / "none"))


def test_bad_images_stop_or_are_listed(tmp_path, records):
    records[1].image.write_bytes(b"no image")
    records[3].image.unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        label_images(Threshold(), records, CLASSES, store_at(tmp_path / "a"), batch_size=5)
    report = label_images(Threshold(), records, CLASSES, store_at(tmp_path / "b"), batch_size=5, on_error="skip")
    assert [identifier for identifier, _ in report.failed] == ["d/1", "d/3"]
    assert report.labeled == 3
    assert store_at(tmp_path / "b").ids() == ["d/0", "d/2", "d/4"]


def test_one_wrong_answer_does_not_spoil_its_batch(tmp_path, records):
    class Wrong(Threshold):
        def scores(self, images, vocabulary, *, ids=None):
            if "d/2" in ids:
                raise DataError("no answer for d/2")
            found = super().scores(images, vocabulary, ids=ids)
            return [s[..., :-1] if i == "d/4" else s for s, i in zip(found, ids, strict=True)]

    store = store_at(tmp_path / "s")
    report = label_images(Wrong(), records, CLASSES, store, batch_size=5, on_error="skip")
    assert dict(report.failed)["d/2"] == "no answer for d/2"
    assert "image is 7x9, its label 6x9" in dict(report.failed)["d/4"]
    assert store.ids() == ["d/0", "d/1", "d/3"]


def test_a_full_disk_is_never_skipped(tmp_path, records, monkeypatch):
    def full(folder, data):
        raise OSError(28, "No space left on device")

    store = store_at(tmp_path / "s")
    monkeypatch.setattr("semiovs.store.pseudo_labels.stage", full)
    with pytest.raises(DataError, match="No space left"):
        label_images(Threshold(), records, CLASSES, store, on_error="skip")


def test_repeated_entries_are_labelled_once(tmp_path, records):
    teacher = Threshold()
    report = label_images(teacher, [*records, records[0]], CLASSES, store_at(tmp_path / "s"))
    assert (report.duplicates, len(teacher.asked)) == (1, 5)
    with pytest.raises(DataError, match="two images have the id 'd/0'"):
        label_images(teacher, [*records, Record("d/0", records[1].image)], CLASSES, store_at(tmp_path / "s"))


def test_images_are_labelled_as_shown(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    store = store_at(tmp_path / "s")
    label_images(Threshold(), [Record("a", tmp_path / "a.png")], CLASSES, store)
    assert store.label("a").tolist() == [[0, 0, 1, 1]] * 6


def test_a_store_of_other_classes(tmp_path, records):
    with pytest.raises(DataError, match="vocabulary"):
        label_images(Threshold(), records, Vocabulary.of(["a", "b"]), store_at(tmp_path / "s"))


class Recorder(Threshold):
    """Remembers its batches; memory: pixels that fit at once."""

    def __init__(self, pixels=10**9, error=torch.OutOfMemoryError):
        super().__init__()
        self.batches, self.pixels, self.error = [], pixels, error

    def scores(self, images, vocabulary, *, ids=None):
        self.batches.append(list(ids))
        if sum(image[0].numel() for image in images) > self.pixels:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return super().scores(images, vocabulary, ids=ids)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_smaller_batch_stays_small(tmp_path, records, error):
    teacher = Recorder(pixels=2 * 7 * 9, error=error)
    report = label_images(teacher, records, CLASSES, store_at(tmp_path / "s"), batch_size=4)
    assert [len(batch) for batch in teacher.batches] == [4, 2, 2, 1]
    assert (report.labeled, report.smallest_batch) == (5, 2)
    whole = Recorder()
    assert label_images(whole, records, CLASSES, store_at(tmp_path / "w"), batch_size=4).smallest_batch is None
    assert tree(tmp_path / "w") == tree(tmp_path / "s")


def test_other_errors_of_the_teacher_are_not_taken_for_memory(tmp_path, records):
    class Broken(Threshold):
        def scores(self, images, vocabulary, *, ids=None):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        label_images(Broken(), records, CLASSES, store_at(tmp_path / "s"), batch_size=4, on_error="skip")


def test_one_image_that_does_not_fit_is_left_out(tmp_path, records):
    report = label_images(
        Recorder(pixels=7 * 8), records, CLASSES, store_at(tmp_path / "s"), batch_size=4, on_error="skip"
    )
    assert [identifier for identifier, _ in report.failed] == ["d/4"]
    assert "7x9 pixels do not fit" in report.failed[0][1]
    assert report.labeled == 4


def test_the_batch_grows_again_after_patience_that_doubles():
    fit = AdaptiveBatchSize(8)
    fit.record_failure(8)
    assert (fit.size, fit.smallest) == (4, 4)
    for _ in range(32):
        fit.record_success(3)  # the last, smaller batch of a list says nothing
        fit.record_success(4)
    assert fit.size == 8
    fit.record_failure(8)
    for _ in range(63):
        fit.record_success(4)
    assert fit.size == 4
    fit.record_success(4)
    assert fit.size == 8
    fit.record_success(8)
    assert fit.size == 8


def test_a_resumed_job_asks_the_same_questions(tmp_path, records):
    whole = Recorder()
    label_images(whole, records, CLASSES, store_at(tmp_path / "w"), batch_size=2)
    first, second = Recorder(), Recorder()
    label_images(first, records, CLASSES, store_at(tmp_path / "s"), batch_size=2, stop=lambda: len(first.batches) >= 1)
    report = label_images(second, records, CLASSES, store_at(tmp_path / "s"), batch_size=2)
    assert first.batches + second.batches == whole.batches == [["d/0", "d/1"], ["d/2", "d/3"], ["d/4"]]
    assert (report.already, report.labeled) == (2, 3)
    assert tree(tmp_path / "s") == tree(tmp_path / "w")


def test_stopped_before_the_first_image(tmp_path, records):
    teacher = Recorder()
    report = label_images(teacher, records, CLASSES, store_at(tmp_path / "s"), stop=lambda: True)
    assert (report.stopped, report.labeled, teacher.batches) == (True, 0, [])


def test_images_of_another_job_are_not_asked_for_twice(tmp_path, records):
    class Beaten(Recorder):
        """While it thinks about the first image, another job does all the rest."""

        def scores(self, images, vocabulary, *, ids=None):
            if not self.batches:
                label_images(Threshold(), records, CLASSES, store_at(tmp_path / "s"))
            return super().scores(images, vocabulary, ids=ids)

    report = label_images(Beaten(), records, CLASSES, store_at(tmp_path / "s"))
    assert (report.labeled, report.already) == (0, 5)
    label_images(Threshold(), records, CLASSES, store_at(tmp_path / "w"))
    assert tree(tmp_path / "s") == tree(tmp_path / "w")


def test_a_failure_keeps_what_came_before_it(tmp_path, records):
    records[3].image.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png"):
        label_images(Threshold(), records, CLASSES, store_at(tmp_path / "s"), batch_size=1)
    assert store_at(tmp_path / "s").ids() == ["d/0", "d/1", "d/2"]
    assert verify(store_at(tmp_path / "s")).stray == []


def test_a_confidence_that_is_no_number_is_refused(tmp_path, records):
    class Broken(Threshold):
        def label(self, images, vocabulary, *, ids=None):
            labels, confidences = super().label(images, vocabulary, ids=ids)
            return labels, [torch.full_like(c, torch.nan) for c in confidences]

    with pytest.raises(DataError, match=r"0\.png: the teacher's confidence is not a number"):
        label_images(Broken(), records, CLASSES, store_at(tmp_path / "s"))


def test_labels_outside_the_classes_are_listed_in_order(tmp_path, records):
    class Wild(Threshold):
        def label(self, images, vocabulary, *, ids=None):
            labels, confidences = super().label(images, vocabulary, ids=ids)
            return [x + 7 if i in {"d/1", "d/3"} else x for x, i in zip(labels, ids, strict=True)], confidences

    records[2].image.unlink()
    report = label_images(Wild(), records, CLASSES, store_at(tmp_path / "s"), batch_size=3, on_error="skip")
    assert [identifier for identifier, _ in report.failed] == ["d/1", "d/2", "d/3"]
    assert "is no class of 0..1" in report.failed[0][1]
    assert store_at(tmp_path / "s").ids() == ["d/0", "d/4"]
    assert verify(store_at(tmp_path / "s")).stray == []


def test_reading_ahead_is_bounded(tmp_path, monkeypatch):
    started = []

    def read(path):
        started.append(path)
        return Image.new("RGB", (100, 10))

    monkeypatch.setattr("semiovs.ovs.image_batches.read_image", read)
    records = [Record(f"{i}", tmp_path / f"{i}") for i in range(48)]

    def most_ahead(waiting, size=1):
        started.clear()
        most = 0
        batches = [records[i : i + size] for i in range(0, 48, size)]
        loaded = read_batches(batches, threads=2, batch_size=size, waiting=waiting)
        for number, batch in enumerate(loaded, 1):
            assert batch.records == batches[number - 1]
            assert len(batch.images) == size
            time.sleep(0.005)
            most = max(most, len(started) - number * size)
        assert len(started) == 48
        return most

    assert 1 <= most_ahead(10**9) <= 4
    assert most_ahead(1) <= 1
    assert 1 <= most_ahead(1, size=8) <= 8  # the next batch, whatever its size


def test_writing_behind_is_bounded_and_in_order(tmp_path, monkeypatch):
    store = store_at(tmp_path / "s")
    release, prepare, put = threading.Event(), store.prepare, []

    def slow(identifier, label, confidence, **more):
        release.wait(10)
        return prepare(identifier, label, confidence, **more)

    monkeypatch.setattr(store, "prepare", slow)

    def fill(writer):
        for i in range(6):
            writer.put([LabelAnswer(f"{9 - i}", np.zeros((10, 10), np.uint8))])
            put.append(i)

    with StoreWriter(store, threads=4, waiting=250) as writer:
        filler = threading.Thread(target=fill, args=(writer,))
        filler.start()
        filler.join(0.3)
        assert put == [0, 1]
        release.set()
        filler.join(10)
    assert writer.take_results().added == store.ids() == ["9", "8", "7", "6", "5", "4"]


def test_a_failure_behind_reaches_the_job(tmp_path, monkeypatch):
    store = store_at(tmp_path / "s")

    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(store, "prepare", broken)
    with pytest.raises(ZeroDivisionError), StoreWriter(store, threads=1, waiting=1) as writer:  # noqa: PT012
        for i in range(100):
            writer.put([LabelAnswer(f"{i}", np.zeros((2, 2), np.uint8))])
    assert len(store) == 0


def test_labels_are_found_by_the_last_part_of_an_id_by_everybody(tmp_path):
    """A store as a teacher and as labels of OOD images: ``c/2`` answers for ``x/2``, nothing for ``x/1``."""
    store = store_at(tmp_path / "s")
    for number, name in enumerate(("a/1", "b/1", "c/2")):
        store.add(name, np.full((2, 2), number % 2, np.uint8))
    names = ["x/1", "x/2", "a/1"]
    labels = NamedLabels(store, Manifest([Record(name, Path(name)) for name in names]))
    teacher = StoredTeacher(store.root, CLASSES)
    assert labels.names == {"x/2": "c/2", "a/1": "a/1"}
    assert [bool(teacher.version(name)) for name in names] == [False, True, True]
    assert by_last_part(["a/1", "b/1", "2"]) == {"2": "2"}
