"""What a study trains: learners, splits, with and without OOD images, seeds; and the settings of each training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from semiovs.comparison.plan import count_epoch_steps
from semiovs.config import LoadedConfig, load_config
from semiovs.config.schema import Config
from semiovs.config.yaml_reader import format_inline
from semiovs.datasets.splits import load_catalogue
from semiovs.engine.experiment import DEFAULT_EPOCHS
from semiovs.errors import UsageError
from semiovs.study.learners import ARMS, BASE, OOD, Learner, choose, choose_learners, splits

#: Folder of the pseudo-labels that all trainings share, in the study's.
LABELS = "sed-labels"
#: Where the images are looked for unless the settings say where: as the paper's repository lays them out.
VOC_ROOT, OOD_IMAGES = "data/pascal", "data/coco/images/train2017"
#: What a study chooses itself, and how.
_OWN = {
    "method": "--learners",
    "method.name": "--learners",
    "data.name": "the verb",
    "data.labeled": "--splits",
    "data.unlabeled": "--splits",
    "train.seed": "--seeds",
    "run.dir": "--out",
    "train.keep_last": "the study",
    "ood.mode": "--arms",
}
#: Parts of a training between two checkpoints at the most: what a kill may cost.
_SAVES = 10


@dataclass(frozen=True)
class StudyCell:
    """One training. learner, split, arm: names of `LEARNERS`, `splits` and `ARMS`."""

    learner: str
    split: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder in ``runs/``."""
        return f"{self.learner}/{self.split}/{self.arm}/seed-{self.seed}"


@dataclass(frozen=True)
class Length:
    """Of a training: optimiser steps, steps between evaluations, and labelled, unlabelled and evaluation images."""

    steps: int
    eval_every: int
    labeled: int
    unlabeled: int
    val: int

    @property
    def evaluations(self) -> int:
        """How often it is evaluated, at the end too."""
        return -(-self.steps // self.eval_every)


@dataclass(frozen=True)
class StudyRequest:
    """What is asked for: names, all where none is given (learners: those of the paper); seeds: how many; settings:
    ``key=value`` for all trainings.
    """

    learners: Sequence[str] = ()
    splits: Sequence[str] = ()
    arms: Sequence[str] = ()
    seeds: int = 3
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class StudyPlan:
    """All trainings of a study in the folder `root`.

    settings: ``key=value`` for all of them; lengths: (learner, split) -> how long its trainings are.
    """

    root: Path
    learners: tuple[Learner, ...]
    splits: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...]
    lengths: Mapping[tuple[str, str], Length]

    @classmethod
    def of(cls, request: StudyRequest, root: Path) -> StudyPlan:
        """The plan of what is asked for; nothing is written, and no image needs to be there.

        Raises:
            UsageError: names that are not known, or settings that the study chooses itself; ConfigError: settings that
            a learner does not have.
        """
        learners = choose_learners(request.learners)
        _require_free(request.settings)
        plan = cls(
            root.absolute(),
            learners,
            choose("--splits", request.splits, splits()),
            choose("--arms", request.arms, ARMS),
            tuple(range(request.seeds)),
            tuple(request.settings),
            {},
        )
        lengths = {
            (learner.name, split): _measure_length(plan.load(StudyCell(learner.name, split, BASE, 0)).config)
            for learner in plan.learners
            for split in plan.splits
        }
        return replace(plan, lengths=lengths)

    @property
    def command(self) -> Sequence[str]:
        """The words of the verb."""
        return ("study", "voc")

    def cells(self) -> list[StudyCell]:
        """All trainings: one seed after the other, so that what is there first makes a whole table."""
        return [
            StudyCell(learner.name, split, arm, seed)
            for seed in self.seeds
            for split in self.splits
            for learner in self.learners
            for arm in self.arms
        ]

    def directory(self, cell: StudyCell) -> Path:
        """The run directory of a training."""
        return self.root / "runs" / cell.name

    def steps_of(self, cell: StudyCell) -> int:
        """Optimiser steps of a training."""
        return self.length_of(cell).steps

    def length_of(self, cell: StudyCell) -> Length:
        """How long a training is."""
        return self.lengths[cell.learner, cell.split]

    def load(self, cell: StudyCell, further: Sequence[str] = ()) -> LoadedConfig:
        """The configuration of a training; further: ``key=value`` on top."""
        (learner,) = (one for one in self.learners if one.name == cell.learner)
        given = [*_default_places(self.root, cell.arm), *self.settings]
        if cell.arm == BASE:
            given = [setting for setting in given if not _is_about_ood(setting)]
        own = [f"train.seed={cell.seed}", "train.keep_last=1", f"run.dir={format_inline(str(self.directory(cell)))}"]
        own += self._pace(cell)
        return load_config(splits()[cell.split], [*learner.changes, *given, *own, *further])

    def as_json(self) -> dict[str, Any]:
        """Plain data: what is trained, and how long each training is."""
        return {
            "learners": [learner.name for learner in self.learners],
            "splits": list(self.splits),
            "arms": list(self.arms),
            "seeds": list(self.seeds),
            "trainings": len(self.cells()),
            "lengths": [
                {"learner": learner, "split": split, **asdict(length), "evaluations": length.evaluations}
                for (learner, split), length in self.lengths.items()
            ],
            "out": str(self.root),
        }

    def load_labelling(self) -> LoadedConfig:
        """The configuration that OOD images are labelled with: the classes with the words of the paper's list."""
        given = (setting for setting in self.settings if setting.partition("=")[0].strip().startswith(("data", "ood")))
        return load_config(splits()[self.splits[0]], [*_default_places(self.root, OOD), *given])

    def _pace(self, cell: StudyCell) -> Iterable[str]:
        """How often it is evaluated and saved: at each epoch, as the published numbers are the best of all epochs."""
        length = self.lengths.get((cell.learner, cell.split))
        if length is None:
            return
        yield f"train.eval_every={length.eval_every}"
        yield f"train.save_every={max(1, min(500, length.steps // _SAVES))}"


def count_listed(given: str | None, root: Path) -> int:
    """Images of a list: of the file below `root`, else of the published list of that name; 0 if there is neither."""
    if given is None:
        return 0
    try:
        return sum(bool(line.strip()) for line in (root / given).read_text("utf-8").splitlines())
    except (OSError, ValueError):
        published = load_catalogue().lists.get(given.removeprefix("splits/"))
        return 0 if published is None else published.count


def _measure_length(config: Config) -> Length:
    data, train, root = config.data, config.train, Path(config.data.root)
    labeled, unlabeled = count_listed(data.labeled, root), count_listed(data.unlabeled, root)
    per_epoch = count_epoch_steps(config, labeled, unlabeled)
    steps = train.steps or (train.epochs or DEFAULT_EPOCHS) * per_epoch
    return Length(steps, train.eval_every or per_epoch, labeled, unlabeled, count_listed(data.val, root))


def _default_places(root: Path, arm: str) -> Iterable[str]:
    """Where images and labels are unless the settings say it, as absolute paths."""
    yield f"data.root={format_inline(str(Path(VOC_ROOT).absolute()))}"
    if arm == OOD:
        yield f"ood.images={format_inline(str(Path(OOD_IMAGES).absolute()))}"
        yield f"ood.labels={format_inline(str(root / LABELS))}"


def _is_about_ood(setting: str) -> bool:
    return setting.partition("=")[0].strip().partition(".")[0] == "ood"


def _require_free(settings: Sequence[str]) -> None:
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"'{setting}': a study has its presets; expected KEY=VALUE for all trainings")
        if key.strip() in _OWN:
            raise UsageError(f"{setting}: {_OWN[key.strip()]} decides it for each training")
        if key.strip() == "ood" and value.strip() in ("null", "~", ""):
            raise UsageError(f"{setting}: --arms {BASE} trains without OOD images")
