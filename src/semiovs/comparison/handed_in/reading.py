"""Compare runs that were made earlier, and files that were exported of runs: they are sorted into arms by what they
differ in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.comparison.arms import Arm
from semiovs.comparison.cell_files import read_counts
from semiovs.comparison.handed_in.arm_names import name_arms
from semiovs.comparison.handed_in.exported_files import ExportedFile, is_exported
from semiovs.comparison.handed_in.file_origins import (
    HandedRun,
    Origin,
    Part,
    find_origin,
    find_weights,
    require_same_weights,
)
from semiovs.comparison.handed_in.model_scores import EvaluationImages, Model, score_models
from semiovs.comparison.results import ArmResult, Results, SeedResult, to_areas
from semiovs.config import Config, load_config
from semiovs.engine.run import find_run
from semiovs.errors import DataError, UsageError
from semiovs.evaluation import ImageCounts
from semiovs.progress import Say, ShowProgress
from semiovs.registry import DATASETS, lookup
from semiovs.similarity.groups import find_groups


@dataclass(frozen=True)
class ImagesAsked:
    """The configuration whose evaluation images are used with exported files, and ``key=value`` on top; source None:
    that of a run.
    """

    source: str | Mapping[str, Any] | None = None
    overrides: Sequence[str] = ()


def read_runs(
    paths: Sequence[Path],
    group: str | None = None,
    *,
    images: ImagesAsked | None = None,
    root: Path,
    show: ShowProgress,
    say: Say,
) -> Results:
    """Results of run directories and exported files; those that differ in the seed alone are one arm.

    Runs alone are compared by what they kept of their last step. With exported files all are evaluated, on the same
    images and in the same precision, runs with the weights that their files were made of.

    images: to evaluate on, by default those of the first run; root: folder that keeps what was found.

    Raises:
        UsageError: neither a run nor an exported file, one seed twice, or a single arm; DataError: other classes,
        images or numbers of steps, or a run that was not evaluated; WeightsError, MissingExtraError: of exported files.
    """
    files = {path: ExportedFile.read(path) for path in dict.fromkeys(paths) if is_exported(path)}
    if images is not None and not files:
        raise UsageError("--runs compares what is there; a configuration has a meaning beside exported files alone")
    runs = {path: HandedRun.open(path, evaluated=not files) for path in dict.fromkeys(paths) if path not in files}
    parts = _find_parts(paths, runs, files)
    arms = _sort_into_arms(parts)
    require_same_weights(parts)
    steps = _require_same_steps(runs.values())
    classes = _require_same_classes([] if files else runs.values(), files.values())  # those of weights are checked too
    if files:
        weights = _find_weights(parts)
        counts = _evaluate(parts, weights, images, root, show, say)
    else:
        weights = {}
        counts = {path: read_counts(path, run.facts) for path, run in runs.items() if run.facts}
    found = tuple(_make_arm(arm, arms[key], counts) for key, arm in name_arms(arms, weights).items())
    groups = None if group is None else find_groups(found[0].seeds[0].areas.ids, group, "--group-by")
    return Results(found, classes, steps, groups=groups)


def _find_parts(
    paths: Sequence[Path], runs: Mapping[Path, HandedRun], files: Mapping[Path, ExportedFile]
) -> list[Part]:
    """What was handed in, in its order.

    Raises:
        UsageError: the seed of a file is not known, and that of others is.
    """
    origins = {path: Origin(run.training, run.seed, run, run.config) for path, run in runs.items()}
    origins |= {path: find_origin(file, list(runs.values())) for path, file in files.items()}
    unknown = [path for path in paths if origins[path].seed is None]
    if unknown and len(unknown) < len(paths):
        raise UsageError(
            f"--runs {unknown[0]}: of which training it is, and so of which seed, is not known: it lies in no run and "
            "its metadata do not tell; hand in its run, or export the run again"
        )
    return [Part(path, origins[path], origins[path].seed or 0, files.get(path)) for path in paths]


def _sort_into_arms(parts: Sequence[Part]) -> dict[tuple[str, str], list[Part]]:
    """Arm -> its seeds; those of a training together, runs before their files.

    Raises:
        UsageError: a single arm, or one seed twice.
    """
    trainings = list(dict.fromkeys(part.origin.training for part in parts))
    order = sorted(parts, key=lambda part: (trainings.index(part.origin.training), part.file is not None))
    arms: dict[tuple[str, str], list[Part]] = {}
    for part in order:
        mine = arms.setdefault(part.arm, [])
        if same := next((other for other in mine if other.seed == part.seed), None):
            raise UsageError(
                f"--runs: {part.path} and {same.path} are the same arm and seed ({part.seed}); one of them"
            )
        mine.append(part)
    if len(arms) < 2:
        why = "one is given" if len(parts) == 1 else f"these {len(parts)} differ in their seeds alone"
        raise UsageError(
            f"--runs: {why}; a comparison needs two arms, such as a run and a file that was exported of it"
        )
    return arms


def _make_arm(arm: Arm, parts: Sequence[Part], counts: Mapping[Path, ImageCounts]) -> ArmResult:
    seeds = []
    for part in sorted(parts, key=lambda part: part.seed):
        run = None if part.file else part.origin.run
        facts = () if arm.training or run is None or run.facts is None else (run.facts,)
        areas = to_areas([counts[part.path]])
        seeds.append(SeedResult(part.seed, areas, facts, part.path if part.file else None))
    return ArmResult(arm, tuple(seeds))


def _find_weights(parts: Sequence[Part]) -> dict[Path, tuple[Path, str | None]]:
    """Run -> the weights of it that are compared, and which model of them."""
    runs = [part.origin.run for part in parts if part.file is None and part.origin.run]
    files = {run.path: [part.file for part in parts if part.file and part.origin.run is run] for run in runs}
    names = {file.weights for mine in files.values() for file in mine}
    usual = names.pop() if len(names) == 1 else None
    return {run.path: find_weights(run, files[run.path], usual) for run in runs}


def _evaluate(
    parts: Sequence[Part],
    weights: Mapping[Path, tuple[Path, str | None]],
    asked: ImagesAsked | None,
    root: Path,
    show: ShowProgress,
    say: Say,
) -> dict[Path, ImageCounts]:
    """Counts of runs and files by their paths, on the same images in the same precision: that of `semiovs evaluate`."""
    runs = [part.origin.run for part in parts if part.file is None and part.origin.run]
    files = [part.file for part in parts if part.file]
    images = EvaluationImages.read(_choose_config(files, runs, asked))
    for file in files:
        images.require_fit(file)
    models = [Model(run.path, (weights[run.path][0],), run.config, weights[run.path][1]) for run in runs]
    models += [Model(file.path, file.parts, images.config) for file in files]
    return score_models(models, images, root, show=show, say=say)


def _choose_config(files: Sequence[ExportedFile], runs: Sequence[HandedRun], asked: ImagesAsked | None) -> Config:
    """The configuration that is asked for, or that of a run that was handed in, or that a file lies in."""
    if asked is None and runs:
        return runs[0].config
    given = asked or ImagesAsked()
    homes = [*(run.path for run in runs), *filter(None, (find_run(file.path.absolute()) for file in files))]
    source = given.source or (str(homes[0]) if homes else None)
    if source is None and not given.overrides:
        raise UsageError(
            f"--runs {files[0].path}: lies in no run, so the images to evaluate on are not known; hand in its run, or "
            "name a configuration (or data.root=DIR) before --runs"
        )
    return load_config(source, given.overrides).config


def _require_same_steps(runs: Iterable[HandedRun]) -> int:
    """Steps of the trainings; 0 if not known."""
    known = [(run.path, run.facts.steps) for run in runs if run.facts]
    for path, steps in known[1:]:
        if steps != known[0][1]:
            raise DataError(f"{path}: {steps} steps, {known[0][0]}: {known[0][1]}; arms need the same number of steps")
    return known[0][1] if known else 0


def _require_same_classes(runs: Iterable[HandedRun], files: Iterable[ExportedFile]) -> tuple[str, ...]:
    names: tuple[str, ...] = ()
    first: Path | None = None
    known = [(run.path, tuple(_read_classes(run.config))) for run in runs]
    known += [(file.path, tuple(file.card.vocabulary.names)) for file in files]
    for path, mine in known:
        if first is not None and mine != names:
            raise DataError(f"{path}: its classes are not those of {first}")
        names, first = mine, first or path
    return names


def _read_classes(config: Config) -> Sequence[str]:
    names: Sequence[str] = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).vocabulary().names
    return names
