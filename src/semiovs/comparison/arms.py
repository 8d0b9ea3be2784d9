"""The arms of a comparison: trainings, and two baselines, that differ in one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semiovs.config.schema import Config
from semiovs.config.yaml_reader import format_inline
from semiovs.data.collection import Collection
from semiovs.errors import UsageError, did_you_mean
from semiovs.registry import METHODS, SEGMENTERS, lookup

#: The arm that is no training: the teacher's labels of the evaluation images, as they are.
TEACHER = "teacher"


@dataclass(frozen=True)
class Arm:
    """One way to use the images.

    name: on the command line and in files; title: in tables; learns_from: what it has that the others lack (among
    exported files: what it is); settings: ``key=value`` on top of the configuration; training: name of the arm whose
    weights an exported file holds, by default its own; form: format and precision of exported files, "" for runs.
    """

    name: str
    title: str
    learns_from: str
    settings: tuple[str, ...] = ()
    training: str = ""
    form: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether it is of trainings, with seeds."""
        return self.name != TEACHER


#: All arms, in the order of tables.
ARMS: tuple[Arm, ...] = (
    Arm("labels", "labels alone", "the labelled images", ("method=supervised", "ood=null")),
    Arm("unlabeled", "unlabelled images", "and its own labels on unlabelled images", ("ood=null",)),
    Arm("naive", "OOD, own labels", "and its own labels on OOD images", ("ood.mode=naive",)),
    Arm("ood", "OOD, teacher's labels", "and the teacher's labels on OOD images", ("ood.mode=ovs",)),
    Arm("placebo", "OOD, shuffled labels", "and teacher's labels of other OOD images", ("ood.mode=placebo",)),
    Arm("probe", "linear probe", "the labelled images, on a frozen encoder", ("method=supervised", "ood=null")),
    Arm(TEACHER, "teacher alone", "nothing: its labels of the evaluation images"),
)  # fmt: skip
_OOD = ("naive", "ood", "placebo")


def choose_arms(
    wanted: Sequence[str], config: Config, images: Collection, *, teacher: bool, labels_follow: bool = False
) -> list[Arm]:
    """The arms called `wanted`, or those that the configuration can have and that answer its question: all but the
    probe, which has to be asked for.

    teacher: whether a teacher was named; labels_follow: OOD images get their labels later.

    Raises:
        UsageError: an unknown name, one that is given twice, an arm that the configuration cannot have, or fewer than
        two arms.
    """
    known = {arm.name: arm for arm in ARMS}
    labelled = labels_follow or images.ood_labels is not None
    given = {name: _find_reason(name, config, images, teacher=teacher, labelled=labelled) for name in known}
    reasons = {name: reason for name, reason in given.items() if reason}
    for name in wanted:
        if name not in known:
            raise UsageError(f"--arms: '{name}' is no arm{did_you_mean(name, known)}")
        if name in reasons:
            raise UsageError(f"--arms: {name} cannot be compared here: {reasons[name]}")
    if len(set(wanted)) < len(wanted):
        raise UsageError(f"--arms: an arm is named twice: {', '.join(wanted)}")
    found = [arm for arm in ARMS if arm.name in (wanted or set(known) - {"probe"} - reasons.keys())]
    if len(found) < 2:
        further = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise UsageError(f"a comparison needs two arms, and there is {found[0].name} alone ({further})")
    return [_complete(arm, config) for arm in found]


def _find_reason(name: str, config: Config, images: Collection, *, teacher: bool, labelled: bool) -> str:
    """Why the configuration cannot have the arm; empty if it can."""
    method = config.method.name
    reads_unlabeled = getattr(lookup(METHODS, method, kind="method").load(), "reads_unlabeled", True)
    if name == "unlabeled" and not reads_unlabeled:
        return f"method {method} reads no unlabelled images"
    if name in ("unlabeled", *_OOD) and reads_unlabeled and not images.unlabeled:
        return f"method {method} needs unlabelled images (data.unlabeled); method=supervised goes without"
    if name in _OOD and config.ood is None:
        return "the configuration has no OOD images (section ood)"
    if name in ("ood", "placebo") and not labelled:
        return "the OOD images have no labels (ood.labels)"
    if name == "placebo" and len(images.ood or ()) < 2:
        return "labels are shuffled among OOD images, and there is only one"
    if name == "probe" and "encoder" not in config.model.options:
        return f"segmenter {config.model.name} has no encoder that can be taken by itself"
    if name == TEACHER and not teacher:
        return "no teacher is named (--teacher NAME)"
    return ""


def _complete(arm: Arm, config: Config) -> Arm:
    """The probe takes over the encoder of the configuration."""
    if arm.name != "probe":
        return arm
    known = lookup(SEGMENTERS, "linear-probe", kind="segmenter").options
    options = {key: value for key, value in config.model.options.items() if key in known}
    settings = ["model=linear-probe", *(f"model.{key}={format_inline(value)}" for key, value in options.items())]
    return Arm(arm.name, arm.title, arm.learns_from, (*arm.settings, *settings))
