"""Settings that were tried for each arm, and those that it was given: what ``--tune`` asks for, and its file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semiovs.errors import DataError, UsageError
from semiovs.files import parse_json, write_json

FILE = "tuning.json"
#: Combinations of values that may be tried.
_MOST = 24
#: Sections whose values may differ between arms, and the keys in them that make an arm what it is.
_SECTIONS = ("optim.", "method.", "model.", "ood.")
_FIXED = ("method.name", "model.name", "ood.images", "ood.labels", "ood.mode")


@dataclass(frozen=True)
class Trial:
    """A combination of values (``key=value``), and its mIoU in percent on held-out labelled images; None: diverged."""

    settings: tuple[str, ...]
    miou: float | None


#: Arm -> what was tried for it, in the order of the command line.
Tuned = Mapping[str, Sequence[Trial]]


def parse_tune(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """All combinations of the values of ``--tune KEY=V1,V2``, each as ``key=value``; the first values come first.

    Raises:
        UsageError: no such text, fewer than two values, a key that has to be the same in all arms, too many
        combinations.
    """
    keys: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key or keys.setdefault(key, []):
            raise UsageError(f"--tune {text}: expected KEY=V1,V2 like optim.lr=0.001,0.01, and each key once")
        if not key.startswith(_SECTIONS) or key in _FIXED:
            raise UsageError(f"--tune {key}: only optim.*, method.*, model.* and ood.* can differ between arms")
        keys[key] = [f"{key}={value}" for value in _split_values(text, values)]
    found = list(itertools.product(*keys.values())) if keys else []
    if len(found) > _MOST:
        raise UsageError(f"--tune: {len(found)} combinations; at most {_MOST} can be tried, give fewer values")
    return found


def _split_values(text: str, values: str) -> list[str]:
    """The values as they were typed, split as a YAML list is."""
    try:
        node = yaml.compose(f"[{values}]", Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        node = None
    if not isinstance(node, yaml.SequenceNode):
        raise UsageError(f"--tune {text}: the values cannot be read; write them as in YAML, with commas")
    found = [values[each.start_mark.index - 1 : each.end_mark.index - 1] for each in node.value]
    if len(found) < 2 or len(set(found)) < len(found):
        raise UsageError(f"--tune {text}: give two or more different values")
    return found


def choose_best(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Settings with the highest mIoU; the first of equals, none if all diverged."""
    found = [trial for trial in trials if trial.miou is not None]
    return max(found, key=lambda trial: trial.miou or 0.0).settings if found else ()


def format_score(trial: Trial) -> str:
    """Its mIoU as text."""
    return "diverged" if trial.miou is None else f"{trial.miou:.1f}"


def write_tuned(root: Path, tuned: Tuned) -> None:
    """Write what was tried into a comparison."""
    write_json(root / FILE, {"arms": {arm: [_describe(trial) for trial in trials] for arm, trials in tuned.items()}})


def read_tuned(root: Path) -> dict[str, list[Trial]]:
    """Inverse of `write_tuned`; empty if nothing was tried yet.

    Raises:
        DataError: the file was changed by hand.
    """
    path = root / FILE
    if not path.is_file():
        return {}
    try:
        arms = parse_json(path.read_text("utf-8"))["arms"]
        return {
            str(arm): [Trial(tuple(map(str, trial["settings"])), _to_percent(trial["miou"])) for trial in trials]
            for arm, trials in arms.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not what was tried ({error!r}); remove it to try again") from None


def _describe(trial: Trial) -> dict[str, Any]:
    return {"settings": list(trial.settings), "miou": trial.miou}


def _to_percent(value: Any) -> float | None:
    return None if value is None else float(value)
