"""From a configuration to a plan: which arms, how many steps, which lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiovs.audit.check import check_collection
from semiovs.comparison.arms import TEACHER, choose_arms
from semiovs.comparison.image_lists import write_choices, write_folds
from semiovs.comparison.plan import Plan, choose_eval_every, count_steps
from semiovs.comparison.tuned_settings import parse_tune, read_tuned
from semiovs.config import LoadedConfig
from semiovs.data.collection import Collection
from semiovs.engine.data_fingerprint import DataFingerprint
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.errors import DataError, UsageError
from semiovs.images.manifest import Manifest
from semiovs.registry import DATASETS, lookup

#: The file with the fingerprint of the images and masks that all trainings share.
DATA = "data.json"
#: Folds where there is nothing to evaluate on.
FOLDS = 5
#: Labelled images without which nothing is tuned.
_TUNABLE = 6
#: Progress of reading masks: images done, and all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What is to be compared.

    arms: names, empty for all that the configuration can have but the probe; seeds: how many; folds: None for those
    that are needed; resplit: labelled images that each seed chooses anew, 0 for those of the configuration; group: see
    `find_groups`; teacher: that was named, an arm by default if it can label the evaluation images; tune: see
    `parse_tune`.
    """

    arms: Sequence[str] = ()
    seeds: int = 3
    folds: int | None = None
    resplit: int = 0
    group: str | None = None
    teacher: TeacherChoice | None = None
    tune: Sequence[str] = ()


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
        images, or too few of them, or others than those that the comparison was begun with.
    """
    config = loaded.config
    ood = config.ood
    if ood is not None and labels_follow:
        ood = ood.model_copy(update={"mode": "naive", "labels": None})
    images: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, ood).read()
    check_collection(images)
    folds = _choose_folds(request, images)
    evaluated = images.labeled if folds else images.val
    assert evaluated is not None
    asked = request.teacher is not None and (
        TEACHER in request.arms or request.teacher.can_label(record.id for record in evaluated)
    )
    arms = choose_arms(request.arms, config, images, teacher=asked, labels_follow=labels_follow)
    first = config.train.seed
    seeds = tuple(range(first, first + request.seeds))
    steps = count_steps(config, images)
    every = choose_eval_every(config, steps)
    _require_tunable(request, folds, images)
    plan = Plan(root, tuple(arms), seeds, steps, every, folds, request.resplit, group=request.group,
                tune=tuple(request.tune))  # fmt: skip
    plan.require_free(loaded)
    data = None if labels_follow else _require_same_data(root, images)
    plan = plan.with_tuned(read_tuned(root))
    if data is None or not write:
        return Prepared(plan, images, evaluated)
    if folds:
        plan.lists.update(write_folds(root, images, folds, group=request.group, progress=progress))
    elif request.resplit:
        plan.lists.update(write_choices(root, images, seeds, request.resplit, progress=progress))
    plan.write(loaded)
    data.write(root / DATA)
    return Prepared(plan, images, evaluated)


def _require_tunable(request: Request, folds: int, images: Collection) -> None:
    if not parse_tune(request.tune):
        return
    if folds or request.resplit:
        raise UsageError(
            "--tune needs the same labelled images in all seeds and evaluation images apart from them (data.val), "
            "without --folds and --resplit: else the images that choose would also judge"
        )
    if len(images.labeled) < _TUNABLE:
        raise DataError(f"--tune: {len(images.labeled)} labelled images are too few to choose by; it needs {_TUNABLE}")


def _require_same_data(root: Path, images: Collection) -> DataFingerprint:
    """The fingerprint of the images and masks; raise DataError if a comparison in `root` was begun with others."""
    now, kept = DataFingerprint.of(images), DataFingerprint.read(root / DATA)
    if kept is not None and kept.digest != now.digest:
        raise DataError(
            f"{root}: its images and masks are not those that it was begun with: {'; '.join(kept.differences(now))}; "
            "bring them back, or choose another folder (--out)"
        )
    return now


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
