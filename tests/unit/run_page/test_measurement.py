"""What is measured on predictions."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.run_page import measurement
from semiovs.run_page.measurement import SIDE, measure


@dataclass
class Answer:
    image: Image.Image
    labels: np.ndarray
    confidence: np.ndarray


class Student:
    """Says 1 with 0.9 in the upper half, 0 with 0.6 in the lower one."""

    def __init__(self):
        self.asked = []

    def __call__(self, path):
        self.asked.append(path.stem)
        image = Image.open(path)
        labels, confidence = np.ones(image.size[::-1], np.uint8), np.full(image.size[::-1], 0.9, np.float32)
        half = len(labels) // 2
        labels[half:], confidence[half:] = 0, 0.6
        return Answer(image, labels, confidence)


def write(folder, name, mask):
    Image.new("RGB", mask.shape[::-1], "teal").save(folder / f"{name}.png")
    Image.fromarray(mask).save(folder / f"{name}_m.png")
    return Record(name, folder / f"{name}.png", folder / f"{name}_m.png")


@pytest.fixture
def records(tmp_path):
    mask = np.ones((20, 30), np.uint8)
    mask[10:] = 0
    mask[:, 0] = 255
    mask[:5, 1:] = 0  # of the upper half half is right, of the lower one all
    return [write(tmp_path, f"v{i}", mask) for i in range(8)]


READER = MaskReader(("ground", "thing"))


def test_confidences_are_compared_with_how_often_they_are_right(records):
    found = measure(Student(), records, READER)
    curve = found.reliability
    assert (found.images, found.listed, found.problems) == (8, 8, [])
    assert found.tally[0].sum() == 8 * 20 * 29
    assert curve.share[[9, 13]] == pytest.approx([0.5, 0.5])
    assert curve.confidence[[9, 13]] == pytest.approx([0.6, 0.9])
    assert curve.accuracy[[9, 13]] == pytest.approx([1.0, 0.5])
    assert curve.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert found.miou == pytest.approx(100 * (10 / 15 + 5 / 10) / 2)


def test_few_of_many_images_are_spread_evenly(records):
    student = Student()
    found = measure(student, records[::-1], READER, most=4)
    assert sorted(student.asked) == ["v0", "v2", "v4", "v6"]
    assert student.asked[:2] == ["v0", "v4"]
    assert (found.images, found.listed) == (4, 8)


def test_time_runs_out_and_examples_come_last(records, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(measurement.time, "monotonic", lambda: float(next(clock)))
    student = Student()
    found = measure(student, records, READER, shown=["v1", "v5", "v3", "v7"], seconds=2.5)
    assert found.images == 3
    assert student.asked[:3] == ["v0", "v4", "v2"]
    assert list(found.examples) == ["v1", "v5"]
    assert found.left_out == 2


def test_examples_outside_the_sample_are_not_measured(records):
    found = measure(Student(), records, READER, shown=["v3", "v0", "gone"], most=2)
    assert found.images == 2
    assert set(found.examples) == {"v0", "v3"}


def test_what_cannot_be_read_is_told(records, tmp_path):
    records[2].image.unlink()
    records[3] = write(tmp_path, "v3", np.full((20, 30), 7, np.uint8))  # no class
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(records[4].mask)

    class Real(Student):
        def __call__(self, path):
            from semiovs.images.image import read_image

            read_image(path)
            return super().__call__(path)

    found = measure(Real(), records, READER)
    assert found.images == 5
    assert len(found.problems) == 3
    assert all(any(part in line for line in found.problems) for part in ("v2.png", "v3_m.png", "another size"))


def test_examples_are_made_small(tmp_path):
    rng = np.random.default_rng(0)
    record = write(tmp_path, "large", rng.integers(0, 2, (900, 1200)).astype(np.uint8))
    found = measure(Student(), [record], READER, shown=["large"]).examples["large"]
    assert found.picture.size == (SIDE, SIDE * 3 // 4)
    assert found.truth.shape == found.predicted.shape == (SIDE * 3 // 4, SIDE)
