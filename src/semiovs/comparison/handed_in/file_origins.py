"""Of which training an exported file is: how it finds its run among others, or at least its seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from semiovs.comparison.cell_files import CellFacts, read_facts, summarize_run
from semiovs.comparison.handed_in.exported_files import ExportedFile
from semiovs.config import Config, load_config
from semiovs.engine.checkpoint_state import identify_training
from semiovs.engine.run import Run, find_run
from semiovs.errors import DataError, SemiovsError, UsageError
from semiovs.files import sha256_of
from semiovs.models.weights import MODEL_FILE, find_model, load_model


@dataclass(frozen=True)
class HandedRun:
    """A run that was handed in. facts: what it found, where it kept that."""

    path: Path
    config: Config
    facts: CellFacts | None

    @classmethod
    def open(cls, path: Path, *, evaluated: bool = True) -> HandedRun:
        """The run of a directory. evaluated: what it found is needed.

        Raises:
            UsageError: no run there; DataError: it was not evaluated, or a file of it was changed.
        """
        run = Run.open(path)
        config = load_config(str(run.config)).config
        try:
            return cls(path, config, read_facts(path) or summarize_run(run))
        except DataError:
            if evaluated:
                raise
            return cls(path, config, None)

    @cached_property
    def training(self) -> str:
        """Hash of its settings but the seed."""
        return identify_training(self.config)

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return self.config.train.seed

    def list_weights(self, name: str) -> list[Path]:
        """Weight files of that name."""
        return [path for path in (Run(self.path).checkpoints / name, self.path / name) if path.is_file()]

    def hash_weights(self, file: ExportedFile) -> dict[Path, str]:
        """Weights of the run that are called as those that a file was made of -> SHA-256."""
        there = self.list_weights(file.weights)
        self._hashes.update({path: sha256_of(path) for path in there if path not in self._hashes})
        return {path: self._hashes[path] for path in there}

    @cached_property
    def _hashes(self) -> dict[Path, str]:
        return {}


@dataclass(frozen=True)
class Origin:
    """The training of a run or a file.

    training: hash of its settings but the seed, or of weights that are of no run; seed: None if not known; run: that
    was handed in, if it is among them; config: its configuration, where that is at hand.
    """

    training: str
    seed: int | None
    run: HandedRun | None = None
    config: Config | None = None


@dataclass(frozen=True)
class Part:
    """What was handed in: one seed of an arm, a run or an exported file."""

    path: Path
    origin: Origin
    seed: int
    file: ExportedFile | None = None

    @property
    def arm(self) -> tuple[str, str]:
        """Training and form: parts that have both are one arm."""
        return self.origin.training, self.file.form if self.file else ""


def find_origin(file: ExportedFile, runs: Sequence[HandedRun]) -> Origin:
    """The training that the file is of: by its metadata; of files of earlier versions by the weights that a run holds,
    or by the run that the file lies in. Weights that are of no run are a training by themselves.

    Raises:
        DataError: it is of one of these `runs`, but of weights that this run holds no more.
    """
    home = find_run(file.path.absolute())
    run = _find_among(file, home, runs)
    if run is not None:
        return Origin(run.training, run.seed, run, run.config)
    config = _read_config(home)
    at_home = None if config is None else (identify_training(config), config.train.seed)
    known = file.training or at_home
    if known is None:
        return Origin(f"weights {file.weights_sha256}", None)
    return Origin(*known, config=config if known == at_home else None)


def _find_among(file: ExportedFile, home: Path | None, runs: Sequence[HandedRun]) -> HandedRun | None:
    if file.training is None:
        for run in runs:
            if file.weights_sha256 in run.hash_weights(file).values():
                return run
    for run in runs:
        told = file.training == (run.training, run.seed)
        if told or (file.training is None and home is not None and home.samefile(run.path)):
            _require_its_weights(file, run)
            return run
    return None


def _require_its_weights(file: ExportedFile, run: HandedRun) -> None:
    """Raise DataError if the run has weights of the same name that are others; they may also be gone."""
    there = run.hash_weights(file)
    if there and file.weights_sha256 not in there.values():
        raise DataError(
            f"{file.path}: was made of other weights than {next(iter(there))} holds today; export the run again "
            f"(semiovs export {run.path} --to {file.facts.get('format')} --overwrite)"
        )


def _read_config(run: Path | None) -> Config | None:
    try:
        return None if run is None else load_config(str(run)).config
    except SemiovsError:  # a configuration that this version does not read
        return None


def require_same_weights(parts: Sequence[Part]) -> None:
    """Raise UsageError for files of one training that hold different weights of it, such as those of other steps."""
    first: dict[tuple[str, int], ExportedFile] = {}
    for part in parts:
        if part.file is None:
            continue
        one, file = first.setdefault((part.origin.training, part.seed), part.file), part.file
        if one.state != file.state:
            raise UsageError(
                f"--runs: {one.path} holds {one.weights} ({_describe(one)}), {file.path} {file.weights} "
                f"({_describe(file)}) of the same training; compare files of the same weights"
            )


def _describe(file: ExportedFile) -> str:
    return " ".join(filter(None, [file.model, "" if file.step is None else f"step {file.step}"])) or "step not known"


def find_weights(run: HandedRun, files: Sequence[ExportedFile], usual: str | None) -> tuple[Path, str | None]:
    """The weights of a run that its exported `files` were made of, and which model of them (student, ema); where it has
    no files, those called `usual`, else what `export` would take.

    Raises:
        DataError: the run has these weights no more; WeightsError: it has none.
    """
    if not files:
        named = run.list_weights(usual) if usual else []
        return (named or [find_model(run.path)])[0], run.config.eval.model
    for file in files:
        for path, found in run.hash_weights(file).items():
            if found == file.weights_sha256:
                return path, file.model
    portable, first = run.path / MODEL_FILE, files[0]
    if portable.is_file() and _holds(portable, first):
        return portable, first.model
    raise DataError(
        f"{first.path}: the weights that it was made of, {first.weights} of step {first.step}, are no longer in "
        f"{run.path}; export what is there, or compare files alone"
    )


def _holds(weights: Path, file: ExportedFile) -> bool:
    """Whether weights are of the step and model of a file."""
    training = load_model(weights)[1].training
    return file.step is not None and (training.get("step"), training.get("model")) == (file.step, file.model)
