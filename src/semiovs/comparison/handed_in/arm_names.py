"""What arms are called whose runs and exported files were handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from semiovs.comparison.arms import ARMS, Arm
from semiovs.comparison.handed_in.file_origins import Part
from semiovs.config import Config
from semiovs.engine.checkpoint_state import collect_settings
from semiovs.registry import METHODS, lookup

#: Training and form of an arm (`Part.arm`).
Key = tuple[str, str]


def name_arms(arms: Mapping[Key, Sequence[Part]], weights: Mapping[Path, tuple[Path, str | None]]) -> dict[Key, Arm]:
    """The arms in the order of tables: those of a training together, its runs first.

    weights: of each run that is compared with exported files, the file and its model (student, ema).

    Trainings are called as the arms of `semiovs compare`, or where they differ in something else after that; exported
    files by format and precision.
    """
    trainings = _name_trainings(arms)
    order = {arm.name: place for place, arm in enumerate(ARMS)}
    named = list(trainings)
    keys = sorted(arms, key=lambda key: (order.get(trainings[key[0]].name, 0), named.index(key[0]), key[1] != ""))
    if not any(form for _, form in arms):
        return {key: trainings[key[0]] for key in keys}
    return {
        key: _name_files(trainings[key[0]], arms[key], alone=len(trainings) == 1)
        if key[1]
        else _name_runs(trainings[key[0]], [weights[part.path] for part in arms[key]])
        for key in keys
    }


def _name_runs(training: Arm, weights: Sequence[tuple[Path, str | None]]) -> Arm:
    told = {f"{which} of {path.name}" if which else path.name for path, which in weights}
    return replace(training, learns_from=", ".join(sorted(told)), training=training.name)


def _name_files(training: Arm, parts: Sequence[Part], *, alone: bool) -> Arm:
    """alone: all arms are of this training, which then needs no name."""
    files = [part.file for part in parts if part.file is not None]
    first, size = files[0], f"{mean(file.megabytes for file in files):.1f} MB"
    what = f"{first.path.name}, {size}" if len(files) == 1 else f"{len(files)} files of {size}"
    whose, whose_title = ("", "") if alone else (f"{training.name}, ", f"{training.title}, ")
    name, title = f"{whose}{first.form}", f"{whose_title}{first.title}"
    return Arm(name, title, what, training=training.name, form=first.form)


def _name_trainings(arms: Mapping[Key, Sequence[Part]]) -> dict[str, Arm]:
    """Training -> its arm, in the order of `arms`."""
    parts = {training: part for (training, _), (part, *_) in reversed(list(arms.items()))}
    trainings = list(dict.fromkeys(training for training, _ in arms))
    if len(trainings) == 1:
        seeds = max(map(len, arms.values()))
        return {trainings[0]: Arm("run", "the run" if seeds == 1 else "the runs", "")}
    known = {training: config for training in trainings if (config := parts[training].origin.config) is not None}
    named = dict(zip(known, _name_by_settings(list(known.values())), strict=True))
    stems = [parts[training].path.stem for training in trainings if training not in known]
    for training in trainings:
        if training not in known:
            path = parts[training].path
            name = path.stem if stems.count(path.stem) == 1 else str(path)
            named[training] = Arm(name, name, "")
    return {training: named[training] for training in trainings}


def _name_by_settings(configs: Sequence[Config]) -> list[Arm]:
    """The arms that the trainings are; where they differ in something else, they are named after that."""
    known = {arm.name: arm for arm in ARMS}
    settings = [{key: text for key, text in collect_settings(c).items() if key != "train.seed"} for c in configs]
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
