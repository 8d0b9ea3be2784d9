"""Numbers about a store, and which images are worth a look."""

import numpy as np
import pytest

from semiovs.store import PseudoLabelStore, count_classes
from semiovs.store.image_sample import pick_images
from semiovs.store.stats import count_bytes, measure_confidence, sample_evenly
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road", "car"])


@pytest.fixture
def store(tmp_path):
    made = PseudoLabelStore.create(tmp_path / "s", CLASSES, teacher={"name": "t"})
    made.add("a", np.array([[0, 0, 1, 255]], np.uint8), np.array([[0.2, 0.4, 1.0, 0.0]], np.float32))
    made.add("b", np.array([[1, 1]], np.uint8))
    made.add("c", np.array([[255]], np.uint8), np.array([[0.1]], np.float32))
    made.add("d", np.array([[1, 0]], np.uint8), np.array([[0.6, 0.8]], np.float32))
    made.settle()
    return made


def test_confidences_of_pixels_that_are_not_ignored(store):
    stats = measure_confidence(store, store.ids())
    assert (stats.sampled, stats.with_confidence) == (4, 3)
    assert stats.mean == pytest.approx((0.2 + 0.4 + 1 + 1 + 1 + 0.6 + 0.8) / 7, abs=1e-3)
    assert stats.by_class == {
        "sky": pytest.approx(1.4 / 3, abs=1e-3),
        "road": pytest.approx(3.6 / 4, abs=1e-3),
    }
    assert stats.histogram == pytest.approx([0, 0, 1 / 7, 0, 1 / 7, 0, 1 / 7, 0, 1 / 7, 3 / 7])
    assert count_classes(store).ignored_share == pytest.approx(2 / 9)


def test_nothing_to_count(store):
    only_ignored = measure_confidence(store, ["c"])
    assert (only_ignored.mean, only_ignored.by_class) == (None, {})
    assert measure_confidence(store, []).mean is None


def test_size_is_that_of_all_files(store):
    assert count_bytes(store.root) == sum(p.stat().st_size for p in store.root.rglob("*") if p.is_file())


@pytest.mark.parametrize(("count", "found"), [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (10, [*range(10)]), (0, [])])
def test_spread_is_even(count, found):
    assert sample_evenly([*range(10)], count) == found


def test_picks(store):
    assert [identifier for identifier, _ in pick_images(store, 2)] == ["b", "d"]
    worst = pick_images(store, 3, worst=True)
    assert [identifier for identifier, _ in worst] == ["c", "a", "d"]
    assert worst[0][1] is None
    assert worst[1][1] == pytest.approx(1.6 / 3, abs=2e-3)
    road = pick_images(store, 9, of_class=1, worst=True)
    assert [identifier for identifier, _ in road] == ["d", "a", "b"]
    assert road[0][1] == pytest.approx(0.6, abs=2e-3)
    assert pick_images(store, 3, of_class=2) == []
