"""What a teacher does ahead of its network, in the threads that read; and when batches are chosen by device."""

import gc
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.images.record import Record
from semiovs.models.sed import build_sed
from semiovs.models.sed.aggregator import AggregatorSizes
from semiovs.models.sed.trained import TrainedSed
from semiovs.ovs import OpenVocabModel, sed
from semiovs.ovs.batch_size import choose_batch_size
from semiovs.ovs.ensemble import Ensemble, EnsembleMember
from semiovs.ovs.image_batches import read_batches
from semiovs.ovs.label import label_images
from semiovs.ovs.sed import SedTeacher
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary
from unit import toy_data

CLASSES = Vocabulary.of(["sky", "car"])


@pytest.fixture
def records(tmp_path):
    found = [Record(str(i), tmp_path / f"images/{i}.png") for i in range(5)]
    for i, record in enumerate(found):
        toy_data.image(record.image, i, (60, 40 + i))
    return found


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    sizes = AggregatorSizes(hidden=16, decoder_dims=(16, 16, 16), guides=(8, 8, 8), kernel=3)
    network = build_sed("resnet18", dim=12, prompts=2, stride=32, sizes=sizes)
    texts = torch.randn(2, 2, 12)
    return SedTeacher.of(TrainedSed(network.eval(), lambda _: texts, size=(64, 64), edges=(80, 320), facts={}))


class Brightness(OpenVocabModel):
    """Remembers which tensors it was shown beforehand, and by whom."""

    def __init__(self, error=None):
        self.ahead, self.asked, self.threads, self.error = {}, [], set(), error

    def look_ahead(self, image):
        self.threads.add(threading.get_ident())
        if self.error is not None:
            raise self.error
        self.ahead[id(image)] = image
        return 10

    def scores(self, images, vocabulary, *, ids=None):
        self.asked += images
        return [torch.stack([1 - b, b]) for b in (image.float().mean(0) / 255 for image in images)]


def store_at(root):
    return PseudoLabelStore.create(root, CLASSES, teacher={})


def test_every_image_is_shown_to_the_teacher_by_a_reading_thread(tmp_path, records):
    teacher = Brightness()
    label_images(teacher, records, CLASSES, store_at(tmp_path / "s"), batch_size=2)
    assert threading.get_ident() not in teacher.threads
    assert [teacher.ahead[id(image)] is image for image in teacher.asked] == [True] * 5


def test_memory_that_is_short_there_stops_nothing_and_a_bug_does(tmp_path, records):
    out = torch.OutOfMemoryError("CUDA out of memory")
    assert label_images(Brightness(out), records, CLASSES, store_at(tmp_path / "s")).labeled == 5
    with pytest.raises(RuntimeError, match="shapes"):
        label_images(Brightness(RuntimeError("shapes")), records, CLASSES, store_at(tmp_path / "t"))


def test_what_is_kept_counts_as_memory(records):
    def ahead(kept):
        shown = []
        batches = read_batches(
            [[r] for r in records], threads=1, waiting=20_000, look_ahead=lambda i: (shown.append(1), kept)[1]
        )
        next(batches)
        batches.close()
        return len(shown)

    assert ahead(10**6) <= ahead(0)


def test_sed_resizes_in_the_threads_that_read_and_answers_alike(tmp_path, records, teacher, monkeypatch):
    where, resize = [], sed._resize

    def seen(image, size):
        where.append(threading.get_ident())
        return resize(image, size)

    monkeypatch.setattr(sed, "_resize", seen)
    store = store_at(tmp_path / "s")
    label_images(teacher, records, CLASSES, store)
    assert len(where) == 5
    assert threading.get_ident() not in where
    for record in records:
        image = torch.from_numpy(np.array(Image.open(record.image))).permute(2, 0, 1).contiguous()
        (label,), (confidence,) = teacher.label([image], CLASSES)
        assert np.array_equal(store.label(record.id), label.numpy())
        assert np.array_equal(store.confidence(record.id), (confidence * 255).round().to(torch.uint8).numpy())


def test_what_was_made_ahead_goes_with_its_image(teacher):
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    both = Ensemble.__new__(Ensemble)
    both.members = (EnsembleMember("a", teacher), EnsembleMember("b", Brightness()))
    assert both.look_ahead(image) == 3 * 80 * 120 + 10
    assert len(teacher._shrunk) == 1
    del image
    both.members[1].teacher.ahead.clear()
    gc.collect()
    assert len(teacher._shrunk) == 0


def test_batches_by_device(monkeypatch):
    assert [choose_batch_size(device) for device in (None, torch.device("cpu"))] == [1, 1]
    for gigabytes, expected in ((6, 1), (16, 4), (140, 8)):
        properties = type("Properties", (), {"total_memory": gigabytes * 2**30})
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, found=properties: found)
        assert choose_batch_size(torch.device("cuda")) == expected


def test_the_arithmetic_is_exact_on_a_cpu_by_default(teacher):
    assert teacher.describe()["precision"] == "fp32"
    assert teacher.exact() is None
