"""From a configuration to a plan: which arms, how many steps, which lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiovs.audit.check import check_collection
from semiovs.comparison.arms import choose_arms
from semiovs.comparison.image_lists import write_choices, write_folds
from semiovs.comparison.plan import Plan, choose_eval_every, count_steps
from semiovs.config import LoadedConfig
from semiovs.data.collection import Collection
from semiovs.errors import DataError, UsageError
from semiovs.images.manifest import Manifest
from semiovs.registry import DATASETS, lookup

#: Folds where there is nothing to evaluate on.
FOLDS = 5
#: Progress of reading masks: images done, and all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What is to be compared.

    arms: names, empty for all that the configuration can have but the probe; seeds: how many; folds: None for those
    that are needed; resplit: labelled images that each seed chooses anew, 0 for those of the configuration; group: see
    `find_groups`; teacher: whether a teacher was named.
    """

    arms: Sequence[str] = ()
    seeds: int = 3
    folds: int | None = None
    resplit: int = 0
    group: str | None = None
    teacher: bool = False


@dataclass(frozen=True)
class Prepared:
    """A plan, the images it is made of, and those that arms are evaluated on."""

    plan: Plan
    images: Collection
    evaluated: Manifest


def prepare(
    loaded: LoadedConfig,
    request: Request,
    root: Path,
    *,
    write: bool = True,
    labels_follow: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Check the images, choose the arms, write lists and plan into the directory `root` (unless `write` is off).

    labels_follow: the labels of the OOD images are not looked at, because a teacher is going to write them.

    Raises:
        UsageError: arms, folds or a choice that cannot be; `root` holds something else. DataError: problems of the
        images, or too few of them.
    """
    config = loaded.config
    ood = config.ood
    if ood is not None and labels_follow:
        ood = ood.model_copy(update={"mode": "naive", "labels": None})
    images: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, ood).read()
    check_collection(images)
    arms = choose_arms(request.arms, config, images, teacher=request.teacher, labels_follow=labels_follow)
    folds = _choose_folds(request, images)
    first = config.train.seed
    seeds = tuple(range(first, first + request.seeds))
    steps = count_steps(config, images)
    every = choose_eval_every(config, steps)
    plan = Plan(root, tuple(arms), seeds, steps, every, folds, request.resplit, group=request.group)
    plan.require_free(loaded)
    evaluated = images.labeled if folds else images.val
    assert evaluated is not None
    if not write:
        return Prepared(plan, images, evaluated)
    if folds:
        plan.lists.update(write_folds(root, images, folds, group=request.group, progress=progress))
    elif request.resplit:
        plan.lists.update(write_choices(root, images, seeds, request.resplit, progress=progress))
    plan.write(loaded)
    return Prepared(plan, images, evaluated)


def _choose_folds(request: Request, images: Collection) -> int:
    if request.folds is not None:
        if request.resplit:
            raise UsageError("--folds deals out the labelled images, --resplit chooses among them: take one of both")
        return request.folds
    if images.val:
        return 0
    if request.resplit:
        raise UsageError("--resplit needs evaluation images (data.val)")
    if len(images.labeled) < 2:
        raise DataError("there is one labelled image and nothing to evaluate on: nothing can be compared; label more")
    return min(FOLDS, len(images.labeled))
