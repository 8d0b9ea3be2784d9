"""OOD images that have no labels yet: found before a comparison is planned, and labelled by its teacher."""

from __future__ import annotations

from semiovs.calibration.labelling import label_with
from semiovs.config import Config
from semiovs.engine.labelling import LabellingTask, make_task
from semiovs.engine.teacher_choice import Agree, TeacherChoice
from semiovs.errors import ConfigError, DataError
from semiovs.progress import Say, ShowProgress
from semiovs.store import PseudoLabelStore
from semiovs.store.meta import is_store


def find_images_to_label(config: Config, *, teacher: bool, say: Say) -> LabellingTask | None:
    """The OOD images, if a teacher was named and some have no labels; None where all have (in a store, in a folder of
    masks, or named by their list), where there are none, or where a store lacks some and nobody is asked.

    teacher: whether one was named; say: told what is wrong with lists.

    Raises:
        DataError: no image has labels, and no teacher was named. ConfigError: labels are missing that only
        `semiovs label --calibration` writes. Others as `make_task`.
    """
    if config.ood is None or config.ood.labels is None:
        return None
    task = make_task(config, say=say)
    if is_store(task.out) or task.out.exists():
        whole = not is_store(task.out) or _holds_all(PseudoLabelStore.open(task.out), task)
    else:
        whole = all(record.mask is not None for record in task.images)
        if not (whole or teacher or config.ood.mode == "naive"):
            raise DataError(
                f"{len(task.images)} OOD images have no labels in {task.out}: --teacher NAME labels them first, "
                "ood=null compares without them"
            )
    if whole or not teacher:
        return None
    if config.ood.confidence in ("calibrated", "soft"):
        raise ConfigError(
            f"ood.confidence: {config.ood.confidence}, but OOD images have no labels in {task.out}, and a comparison "
            "writes raw ones; label them with `semiovs label --calibration FILE` first"
        )
    return task


def _holds_all(store: PseudoLabelStore, task: LabellingTask) -> bool:
    return all(record.id in store for record in task.images)


def label_ood_images(
    task: LabellingTask, config: Config, teacher: TeacherChoice, *, agree: Agree, show: ShowProgress, say: Say
) -> None:
    """Label OOD images into their store as `semiovs label` does; a job that was stopped goes on.

    Raises:
        SemiovsError: as `label_with`.
    """
    say(f"labelling {len(task.images)} OOD images into {task.out}")
    label_with(teacher, task, config, agree=agree, say=say, shard=(0, 1), show=show, batch_size=1)
