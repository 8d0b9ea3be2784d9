"""Contract checks of data sets, run on a small copy on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semiovs.audit.check import check_collection
from semiovs.config.schema import DataConfig
from semiovs.data import Collection
from semiovs.datasets.dataset import Dataset
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from semiovs.registry import DATASETS, lookup
from semiovs.testing.checks import Check, refuse_unknown, require
from semiovs.vocab import Vocabulary


@dataclass(frozen=True)
class DatasetCase:
    """A data set under test. make: its class; data: the configuration that it is given."""

    make: Callable[[DataConfig], Dataset]
    data: DataConfig

    @property
    def dataset(self) -> Dataset:
        """A fresh one."""
        return self.make(self.data)

    def read(self) -> Collection:
        """What a training reads."""
        return self.dataset.read()

    def manifests(self) -> dict[str, Manifest]:
        """Stream -> its records, of the streams that there are."""
        collection = self.read()
        names = ("labeled", "held_out", "unlabeled", "val")
        return {name: found for name in names if (found := getattr(collection, name)) is not None}


def dataset_checks(
    dataset: str | type[Dataset],
    root: str | Path,
    *,
    data: Mapping[str, Any] | None = None,
    skip: Sequence[str] = (),
) -> list[Check]:
    """Return the checks of `check_dataset` one by one, for ``pytest.mark.parametrize("check", …, ids=str)``."""
    refuse_unknown(skip, [check.__name__ for check in CHECKS])
    named = isinstance(dataset, str)
    make = lookup(DATASETS, dataset, kind="data set").load() if isinstance(dataset, str) else dataset
    config = DataConfig(**{**({"name": dataset} if named else {}), "root": str(root), **(data or {})})
    case, subject = DatasetCase(make, config), f"data set '{dataset if isinstance(dataset, str) else dataset.__name__}'"
    return [Check(check.__name__, subject, partial(check, case)) for check in CHECKS if check.__name__ not in skip]


def check_dataset(
    dataset: str | type[Dataset],
    root: str | Path,
    *,
    data: Mapping[str, Any] | None = None,
    skip: Sequence[str] = (),
) -> None:
    """Run every check of a data set on a small copy under `root`: a few images with masks, laid out as the real ones.

    dataset: its name (``semiovs list datasets``) or class; data: further keys of the section ``data``, such as
    ``{"labeled": "splits/train.txt"}``; skip: names of checks that do not apply.

    Raises:
        AssertionError: a check does not hold: which one, what was expected and what to do; UsageError: no such data
        set or check.
    """
    for check in dataset_checks(dataset, root, data=data, skip=skip):
        check()


def images_are_found(case: DatasetCase) -> None:
    """`read` returns labelled images."""
    found = case.read()
    require(isinstance(found, Collection), f"read() must return semiovs.data.Collection, not {type(found).__name__}")
    require(len(found.labeled) > 0, "read() must find labelled images in the small copy; put at least one there")


def vocabulary_is_that_of_the_collection(case: DatasetCase) -> None:
    """Both ways to the classes give the same."""
    vocabulary = case.dataset.vocabulary()
    require(isinstance(vocabulary, Vocabulary), "vocabulary() must return a semiovs.vocab.Vocabulary")
    same = vocabulary.hash == case.read().vocabulary.hash
    require(same, "vocabulary() and read().vocabulary must be the same classes in the same order")


def ids_are_unique(case: DatasetCase) -> None:
    """An id stands for one image, in each stream."""
    for name, manifest in case.manifests().items():
        ids = [record.id for record in manifest]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        require(
            not twice,
            f"{name}: the ids {twice[:3]} stand for more than one image; make ids of the paths below the root",
        )


def manifests_resolve(case: DatasetCase) -> None:
    """Images exist, and the masks of images that need one."""
    for name, manifest in case.manifests().items():
        for record in manifest:
            require(
                Path(record.image).exists(), f"{name}: {record.image} does not exist; name only images that are there"
            )
            if name != "unlabeled":
                there = record.mask is not None and Path(record.mask).exists()
                require(there, f"{name}: {record.image} needs a mask, and {record.mask} does not exist")


def masks_hold_classes(case: DatasetCase) -> None:
    """Masks are readable, of their images' sizes, and hold ids of classes or 255 alone; no image is in two streams."""
    try:
        check_collection(case.read())
    except DataError as error:
        raise AssertionError(f"what `semiovs train` checks before step 0 must hold: {error}") from None


def order_is_repeated(case: DatasetCase) -> None:
    """The order of the records does not depend on the file system: shuffles are functions of it."""
    first, second = case.manifests(), case.manifests()
    for name, manifest in first.items():
        ids = [record.id for record in manifest]
        require(
            ids == [record.id for record in second[name]],
            f"{name}: records come in another order the second time; sort them",
        )


def parts_agree_with_the_collection(case: DatasetCase) -> None:
    """`labeled` and `unlabeled`, which some commands read alone, are the streams of `read`."""
    found, dataset = case.manifests(), case.dataset
    alone = {"labeled": dataset.labeled().labeled, "unlabeled": dataset.unlabeled()}
    for name, manifest in alone.items():
        ids = [[record.id for record in one or ()] for one in (manifest, found.get(name))]
        require(ids[0] == ids[1], f"{name}() must have the same images as read().{name}, in the same order")


CHECKS: tuple[Callable[[DatasetCase], None], ...] = (
    images_are_found,
    vocabulary_is_that_of_the_collection,
    ids_are_unique,
    manifests_resolve,
    masks_hold_classes,
    order_is_repeated,
    parts_agree_with_the_collection,
)
