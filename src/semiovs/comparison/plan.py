"""What a comparison trains: arms, seeds, folds, and the settings of each training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from semiovs.comparison.arms import ARMS, Arm
from semiovs.comparison.tuned_settings import Tuned, choose_best
from semiovs.config import LoadedConfig, load_config
from semiovs.config.load import find_differences
from semiovs.config.schema import Config
from semiovs.config.yaml_reader import format_inline
from semiovs.data.collection import Collection
from semiovs.engine.checkpoint_state import CHANGEABLE_KEYS
from semiovs.engine.experiment import DEFAULT_EPOCHS
from semiovs.errors import DataError, UsageError
from semiovs.files import parse_json, sweep_temporaries, write_json, write_text
from semiovs.registry import METHODS, lookup

#: The file that says what a directory compares, and the configuration that all arms share.
PLAN, BASE = "comparison.json", "config.yaml"
FORMAT = 1
#: What is there when it was stopped before the plan was written.
_UNFINISHED = {BASE, "lists"}
#: Evaluations of each training where the configuration does not say how many.
_EVALUATIONS = 5
#: Parts of a training between two checkpoints at the most: what a kill may cost.
_SAVES = 10


@dataclass(frozen=True)
class Cell:
    """One training of a comparison. fold: of the labelled images, which it is evaluated on; None without folds."""

    arm: Arm
    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """Its folder in ``runs/``."""
        return f"{self.arm.name}/seed-{self.seed}" + ("" if self.fold is None else f"-fold-{self.fold}")


@dataclass(frozen=True)
class Plan:
    """All trainings of a comparison in the directory `root`, and what they share.

    steps: of each training; eval_every: steps between evaluations; folds: 0 without; resplit: labelled images that each
    seed chooses anew, 0: those of the configuration; lists: name of a fold (``fold-0``) or seed (``seed-0``) -> the
    keys that its trainings have other lists for; group: pattern of ids whose first group names a film or scene; tune:
    values that each arm chooses among (`parse_tune`).
    """

    root: Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    steps: int
    eval_every: int
    folds: int = 0
    resplit: int = 0
    lists: dict[str, dict[str, str]] = field(default_factory=dict)
    group: str | None = None
    tune: tuple[str, ...] = ()

    @property
    def trained(self) -> list[Arm]:
        """The arms that are trainings."""
        return [arm for arm in self.arms if arm.is_trained]

    def cells(self) -> list[Cell]:
        """All trainings: one seed after the other, so that what is there first makes a whole table."""
        return [Cell(arm, seed, fold) for seed in self.seeds for fold in self._folds() for arm in self.trained]

    def _folds(self) -> Sequence[int | None]:
        return range(self.folds) if self.folds else [None]

    def with_tuned(self, tuned: Tuned) -> Plan:
        """The plan with the best settings of each arm that was tuned; what makes an arm what it is stays."""
        arms = [replace(arm, settings=(*choose_best(tuned.get(arm.name, ())), *arm.settings)) for arm in self.arms]
        return replace(self, arms=tuple(arms))

    @property
    def command(self) -> Sequence[str]:
        """The words of the verb that trains them."""
        return ("compare",)

    def steps_of(self, cell: Cell) -> int:  # noqa: ARG002 - all arms have the same
        """Optimiser steps of a training."""
        return self.steps

    def directory(self, cell: Cell) -> Path:
        """The run directory of a training."""
        return self.root / "runs" / cell.name

    def load(self, cell: Cell, further: Sequence[str] = ()) -> LoadedConfig:
        """The configuration of a training; further: ``key=value`` on top."""
        return load_config(str(self.root / BASE), [*self._settings(cell), *further])

    @cached_property
    def base(self) -> LoadedConfig:
        """The configuration that all arms share."""
        return load_config(str(self.root / BASE))

    def _settings(self, cell: Cell) -> Iterator[str]:
        saves = min(self.base.config.train.save_every, max(1, self.steps // _SAVES))
        yield from cell.arm.settings
        yield from (f"train.{key}={value}" for key, value in (("seed", cell.seed), ("steps", self.steps)))
        yield from (f"train.eval_every={self.eval_every}", f"train.save_every={saves}", "train.keep_last=1")
        yield f"run.dir={format_inline(str(self.directory(cell)))}"
        name = f"seed-{cell.seed}" if cell.fold is None else f"fold-{cell.fold}"
        for key, path in self.lists.get(name, {}).items():
            yield f"{key}={format_inline(str(self.root / path))}"

    def require_free(self, base: LoadedConfig) -> None:
        """Require that `root` can take this comparison: it is empty, or holds the same one with other arms or seeds.

        Raises:
            UsageError: it holds something else, or a comparison with other settings.
        """
        if self.root.is_dir():
            sweep_temporaries(self.root)  # of a process that was killed before the plan was written
        if (self.root / PLAN).exists():
            self._require_same(base)
        elif self.root.exists() and (not self.root.is_dir() or {p.name for p in self.root.iterdir()} - _UNFINISHED):
            raise UsageError(f"--out: {self.root} is not empty and holds no comparison; choose another folder")

    def write(self, base: LoadedConfig) -> None:
        """Write the plan, and the shared configuration if it is not there."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not (self.root / BASE).exists():
            write_text(self.root / BASE, base.dump())
        write_json(self.root / PLAN, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Content of comparison.json."""
        return {
            "format": FORMAT,
            "arms": {arm.name: list(arm.settings) for arm in self.arms},
            "seeds": list(self.seeds),
            "steps": self.steps,
            "eval_every": self.eval_every,
            "folds": self.folds,
            "resplit": self.resplit,
            "lists": self.lists,
            "group": self.group,
            "tune": list(self.tune),
        }

    @classmethod
    def read(cls, root: Path) -> Plan:
        """The plan of a directory.

        Raises:
            UsageError: no comparison there; DataError: its file was changed.
        """
        path = root / PLAN
        if not path.is_file():
            raise UsageError(f"{root} holds no comparison (it has no {PLAN}); semiovs compare makes one")
        try:
            data = parse_json(path.read_text("utf-8"))
            if data["format"] != FORMAT:
                raise DataError(f"{path}: format {data['format']}; this version reads {FORMAT}")
            known = {arm.name: arm for arm in ARMS}
            arms = [known[name] for name in data["arms"]]
            settings = [tuple(map(str, given)) for given in data["arms"].values()]
            return cls(
                root,
                tuple(replace(arm, settings=given) for arm, given in zip(arms, settings, strict=True)),
                tuple(int(seed) for seed in data["seeds"]),
                steps=int(data["steps"]),
                eval_every=int(data["eval_every"]),
                folds=int(data["folds"]),
                resplit=int(data["resplit"]),
                lists={str(name): dict(keys) for name, keys in data["lists"].items()},
                group=data["group"],
                tune=tuple(map(str, data.get("tune", ()))),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not the description of a comparison: {error!r}; it was changed by hand") from None

    def _require_same(self, base: LoadedConfig) -> None:
        before, there = Plan.read(self.root), load_config(str(self.root / BASE))
        rows = [(d.key, d.left, d.right) for d in find_differences(there, base)]
        rows += [(f"--{k}", getattr(before, k), getattr(self, k)) for k in ("folds", "resplit")]
        rows += [("--tune", " ".join(before.tune) or "none", " ".join(self.tune) or "none")]
        rows += [(k, getattr(before, k), getattr(self, k)) for k in ("steps", "eval_every")]
        other = [row for row in rows if row[1] != row[2] and not row[0].startswith(CHANGEABLE_KEYS)]
        if other:
            told = ", ".join(f"{key}: {old} there, {new} now" for key, old, new in other)
            raise UsageError(
                f"--out: {self.root} holds a comparison with other settings ({told}); choose another folder"
            )


def count_steps(config: Config, images: Collection) -> int:
    """Optimiser steps of each arm: those of the configuration's own training on one process."""
    train = config.train
    if train.steps is not None:
        return train.steps
    return (train.epochs or DEFAULT_EPOCHS) * count_epoch_steps(
        config, len(images.labeled), len(images.unlabeled or ())
    )


def count_epoch_steps(config: Config, labeled: int, unlabeled: int) -> int:
    """Optimiser steps of a pass over so many unlabelled images (labelled ones if the method reads no others)."""
    train, method = config.train, lookup(METHODS, config.method.name, kind="method").load()
    bare = unlabeled if getattr(method, "reads_unlabeled", True) else 0
    size = (train.unlabeled_batch_size or train.batch_size) if bare else train.batch_size
    return max(1, (bare or labeled) // (size * train.accumulate))


def choose_eval_every(config: Config, steps: int) -> int:
    """Steps between two evaluations, the same in all arms."""
    return config.train.eval_every or max(1, -(-steps // _EVALUATIONS))
