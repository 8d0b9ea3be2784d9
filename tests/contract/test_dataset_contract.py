"""What every data set must do (`semiovs.testing`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from e2e.folders import write
from semiovs.datasets.folder import FolderDataset
from semiovs.errors import UsageError
from semiovs.testing import check_dataset
from semiovs.testing.datasets import CHECKS
from semiovs.vocab import Vocabulary
from unit import benchmark_trees

NAMES = [check.__name__ for check in CHECKS]


def test_a_folder(tmp_path):
    check_dataset("folder", write(tmp_path))


def test_a_folder_with_images_kept_aside(tmp_path):
    check_dataset("folder", write(tmp_path), data={"held_out": 1})


@pytest.mark.parametrize("name", ["voc", "ade20k"])
def test_benchmarks(tmp_path, name):
    getattr(benchmark_trees, name)(tmp_path)
    check_dataset(name, tmp_path)


class OtherClasses(FolderDataset):
    turn = 0

    def vocabulary(self):
        OtherClasses.turn += 1
        return Vocabulary(("one", "two", "three", f"class {OtherClasses.turn}"))


class Shuffled(FolderDataset):
    turn = 0

    def read(self, *given):
        found = super().read(*given)
        Shuffled.turn += 1
        step = -1 if Shuffled.turn % 2 else 1
        return replace(found, labeled=type(found.labeled)(list(found.labeled)[::step], found.labeled.root))


class NoUnlabeled(FolderDataset):
    def unlabeled(self):
        return None


@pytest.mark.parametrize(
    ("dataset", "check"),
    [
        (OtherClasses, "vocabulary_is_that_of_the_collection"),
        (Shuffled, "order_is_repeated"),
        (NoUnlabeled, "parts_agree_with_the_collection"),
    ],
)
def test_a_fault_is_found_by_its_check(tmp_path, dataset, check):
    write(tmp_path)
    others = [name for name in NAMES if name != check]
    with pytest.raises(AssertionError, match=f"data set '{dataset.__name__}': check {check}: "):
        check_dataset(dataset, tmp_path, skip=others)


def test_masks_with_other_values_than_classes(tmp_path):
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("ground\nred\n")
    with pytest.raises(AssertionError, match="check masks_hold_classes: what `semiovs train` checks"):
        check_dataset("folder", tmp_path)


def test_an_unknown_check(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'ids_are_unique'"):
        check_dataset("folder", tmp_path, skip=["ids_unique"])
