"""The learners of the paper's table on Pascal VOC, and what was published of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semiovs.config.published_results import PublishedGroup, PublishedSetting, load_published
from semiovs.errors import UsageError, did_you_mean

#: The two ways to train each learner: without images from elsewhere, and with them, labelled by the teacher.
BASE, OOD = "base", "ood"
ARMS = (BASE, OOD)

#: The group of published results whose columns are the splits.
_TITLE = "Pascal VOC, finely annotated images, crop 321"
#: What the papers' ResNet-101 starts from; the presets take timm's.
_RESNET = ("model.pretrained=resnet101.pth",)


@dataclass(frozen=True)
class Learner:
    """A row of the table.

    name: on the command line and in folders; row, with_ood: names of its published results without and with OOD images,
    None where none were published; settings: beside those of the published row.
    """

    name: str
    row: str
    with_ood: str | None = None
    settings: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        """``key=value`` arguments after a split's preset, without OOD images."""
        return (*_find_row(self.row).change.split(), *self.settings)

    def published(self, arm: str) -> Mapping[str, float]:
        """Split -> published mIoU in percent, the best of all epochs; without splits that were not published."""
        row = self.row if arm == BASE else self.with_ood
        if row is None:
            return {}
        numbers = zip(_group().columns, _find_row(row).miou, strict=True)
        return {split: miou for split, miou in numbers if miou is not None}


#: All learners, in the order of the table.
LEARNERS: tuple[Learner, ...] = (
    Learner("supervised", "Supervised, R-101", settings=_RESNET),
    Learner("fixmatch", "FixMatch, R-101", settings=_RESNET),
    Learner("unimatch", "UniMatch, R-101", "UniMatch + OOD (SemiOVS), R-101", _RESNET),
    Learner("prevmatch", "PrevMatch, R-101", "PrevMatch + OOD (SemiOVS), R-101", _RESNET),
    Learner("semivl", "SemiVL, CLIP ViT-B/16", "SemiVL + OOD (SemiOVS), CLIP ViT-B/16"),
    Learner("corrmatch", "CorrMatch, R-101", settings=_RESNET),
    Learner("ddfp", "DDFP, R-101", settings=_RESNET),
    Learner("allspark", "AllSpark, MiT-B5"),
    Learner("unimatch-v2", "UniMatch V2, DINOv2-B"),
)
#: Those that the paper trains with OOD images.
OF_THE_PAPER = ("unimatch", "prevmatch", "semivl")


def splits() -> Mapping[str, str]:
    """Split -> its preset, from few labels to many."""
    return _group().columns


def choose_learners(names: Sequence[str]) -> tuple[Learner, ...]:
    """The learners called `names`, those of the paper by default, in the order of the table."""
    known = {learner.name: learner for learner in LEARNERS}
    chosen = choose("--learners", names or OF_THE_PAPER, known)
    return tuple(known[name] for name in chosen)


def choose(option: str, names: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> tuple[str, ...]:
    """Those of `known` that are named, in their order; all if none is.

    Raises:
        UsageError: a name that is not known, or one that is there twice.
    """
    for name in names:
        if name not in known:
            raise UsageError(f"{option}: '{name}' is not known{did_you_mean(name, known)}")
    if len(set(names)) < len(names):
        raise UsageError(f"{option}: a name is there twice: {', '.join(names)}")
    return tuple(name for name in known if name in (names or known))


def _group() -> PublishedGroup:
    return next(group for group in load_published() if group.title == _TITLE)


def _find_row(name: str) -> PublishedSetting:
    return next(setting for setting in _group().settings if setting.name == name)
