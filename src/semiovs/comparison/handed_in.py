"""Compare runs that were made earlier: they are sorted into arms by what they differ in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from semiovs.comparison.arms import ARMS, Arm
from semiovs.comparison.cell_files import CellFacts, read_counts, read_facts, summarize_run
from semiovs.comparison.results import ArmResult, Results, SeedResult, to_areas
from semiovs.config import Config, load_config
from semiovs.engine.checkpoint_state import collect_settings
from semiovs.engine.run import Run
from semiovs.errors import DataError, UsageError
from semiovs.registry import DATASETS, METHODS, lookup
from semiovs.similarity.groups import find_groups

Settings = Mapping[str, str]


def read_runs(paths: Sequence[Path], group: str | None = None) -> Results:
    """Results of run directories; those that differ in the seed alone are one arm.

    Raises:
        UsageError: a directory without a run, one seed twice, or a single arm; DataError: other classes, images or
        numbers of steps, or a run that was not evaluated.
    """
    arms: dict[str, list[tuple[Path, Config, CellFacts]]] = {}
    for path in paths:
        run = Run.open(path)
        config = load_config(str(run.config)).config
        settings = {key: value for key, value in collect_settings(config).items() if key != "train.seed"}
        arms.setdefault(json.dumps(settings), []).append((path, config, read_facts(path) or summarize_run(run)))
    if len(arms) < 2:
        raise UsageError(f"--runs: these {len(paths)} runs differ in their seeds alone; a comparison needs two arms")
    _require_same_steps([(path, facts) for runs in arms.values() for path, _, facts in runs])
    names = _name_arms([json.loads(key) for key in arms], [runs[0][1] for runs in arms.values()])
    found = [_make_arm(arm, runs) for arm, runs in zip(names, arms.values(), strict=True)]
    order = {arm.name: place for place, arm in enumerate(ARMS)}
    found.sort(key=lambda result: order.get(result.arm.name, 0))
    classes, steps = _require_same_classes(arms.values()), next(iter(arms.values()))[0][2].steps
    groups = None if group is None else find_groups(found[0].seeds[0].areas.ids, group, "--group-by")
    return Results(tuple(found), classes, steps, groups=groups)


def _make_arm(arm: Arm, runs: Sequence[tuple[Path, Config, CellFacts]]) -> ArmResult:
    seeds: dict[int, SeedResult] = {}
    for path, config, facts in runs:
        seed = config.train.seed
        if seed in seeds:
            raise UsageError(f"--runs: {path}: seed {seed} of the arm '{arm.name}' is handed in twice")
        seeds[seed] = SeedResult(seed, to_areas([read_counts(path, facts)]), (facts,))
    return ArmResult(arm, tuple(seeds[seed] for seed in sorted(seeds)))


def _require_same_steps(runs: Sequence[tuple[Path, CellFacts]]) -> None:
    first, facts = runs[0]
    for path, other in runs[1:]:
        if other.steps != facts.steps:
            raise DataError(f"{path}: {other.steps} steps, {first}: {facts.steps}; arms need the same number of steps")


def _require_same_classes(arms: Iterable[Sequence[tuple[Path, Config, CellFacts]]]) -> tuple[str, ...]:
    names: tuple[str, ...] = ()
    first: Path | None = None
    for runs in arms:
        for path, config, _ in runs:
            dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data)
            mine = tuple(dataset.vocabulary().names)
            if first is not None and mine != names:
                raise DataError(f"{path}: its classes are not those of {first}")
            names, first = mine, first or path
    return names


def _name_arms(settings: Sequence[Settings], configs: Sequence[Config]) -> list[Arm]:
    """The arms that the runs are; where they differ in something else, they are named after that."""
    known = {arm.name: arm for arm in ARMS}
    classified = [_classify(config) for config in configs]
    keys = sorted({key for one in settings for key in one if len({other.get(key, "") for other in settings}) > 1})
    explained = all(key.startswith(("ood", "method.", "model.")) for key in keys)
    if explained and len(set(classified)) == len(classified):
        return [known[name] for name in classified]
    told = [", ".join(f"{key}={one.get(key, 'null')}" for key in _shorten(keys)) for one in settings]
    return [Arm(text, text, "") for text in told]


def _shorten(keys: Sequence[str]) -> Sequence[str]:
    """The names alone, where a method or segmenter differs with all its options."""
    named = [key for key in keys if key.endswith(".name")]
    return [key for key in keys if key in named or f"{key.partition('.')[0]}.name" not in named]


def _classify(config: Config) -> str:
    if config.ood is not None:
        return "ood" if config.ood.mode == "ovs" else config.ood.mode
    if config.model.name == "linear-probe":
        return "probe"
    reads = getattr(lookup(METHODS, config.method.name, kind="method").load(), "reads_unlabeled", True)
    return "unlabeled" if reads else "labels"
