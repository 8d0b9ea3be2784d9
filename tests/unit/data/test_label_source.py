"""Labels by image id: the placebo, whose labels are those of other images."""

import numpy as np
import pytest

from semiovs.data.label_source import ShuffledLabels
from semiovs.errors import DataError


class Numbered:
    """Image i has i + 2 rows, 4 columns, and label i everywhere, with a row of 255."""

    def __init__(self, count, *, confident=True):
        self._names, self._confident = [f"image{i}" for i in range(count)], confident

    def __contains__(self, name):
        return name in self._names

    def ids(self):
        return self._names

    def label(self, name):
        index = self._names.index(name)
        label = np.full((index + 2, 4), index, np.uint8)
        label[0] = 255
        return label

    def confidence(self, name):
        return np.full((self._names.index(name) + 2, 4), 10 * self._names.index(name), np.uint8)


def test_each_image_has_the_label_of_another_one_and_each_label_is_used_once():
    source = Numbered(9)
    found = ShuffledLabels(source, source.ids(), seed=3)
    given = [int(found.label(name).max(initial=0, where=found.label(name) < 255)) for name in source.ids()]
    assert sorted(given) == list(range(9))
    assert all(other != own for own, other in enumerate(given))
    for name, other in zip(source.ids(), given, strict=True):
        assert found.label(name).shape == source.label(name).shape
        assert (found.label(name)[0] == 255).all()
        assert (found.confidence(name) == 10 * other).all()


def test_it_is_a_pure_function_of_ids_and_seed():
    source = Numbered(20)
    labels = [
        [int(ShuffledLabels(source, source.ids(), seed).label(name)[-1, 0]) for name in source.ids()]
        for seed in (0, 0, 1)
    ]
    assert labels[0] == labels[1] != labels[2]


def test_a_single_image_is_refused():
    with pytest.raises(DataError, match="only one"):
        ShuffledLabels(Numbered(1), ["image0"], seed=0)
