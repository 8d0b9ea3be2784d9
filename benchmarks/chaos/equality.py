"""Whether two runs, stores or comparisons are the same, apart from times; each function names the first difference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.chaos.world import tree
from semiovs.engine.run import read_metrics

#: What tells of the command and the machine, or is a name that only a process that lives needs.
_OF_THE_MOMENT = {".lock", "command.txt", "env.json", "log.txt", "report.html", "config.yaml"}


def run_difference(run: Path, straight: Path, *, more: bool = False) -> str | None:
    """Checkpoints tensor by tensor, rows, scores, final weights and the names of all files; None: the same.

    more: files that could not be removed are no difference.
    """
    here, there = _names(run), _names(straight)
    if (there - here) if more else (here != there):
        return f"other files: {sorted(here ^ there)}"
    if (found := _rows(run)) != (expected := _rows(straight)):
        at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), "the end")
        return f"metrics.jsonl differs at row {at} ({len(found)} rows, {len(expected)} undisturbed)"
    for path in sorted((straight / "checkpoints").glob("*.pt")):
        there_state, here_state = (torch.load(p, weights_only=True) for p in (path, run / "checkpoints" / path.name))
        if different := _difference(here_state, there_state, path.name):
            return different
    if (run / "model.safetensors").read_bytes() != (straight / "model.safetensors").read_bytes():
        return "model.safetensors differs"
    for path in sorted((straight / "scores").glob("*.npz")):
        with np.load(path) as one, np.load(run / "scores" / path.name) as other:
            if one.files != other.files or any(not np.array_equal(one[name], other[name]) for name in one.files):
                return f"scores/{path.name} differs"
    if _plain(run / "eval.json") != _plain(straight / "eval.json"):
        return "eval.json differs"
    return None


def store_difference(store: Path, straight: Path) -> str | None:
    """All bytes; None: the same."""
    here, there = tree(store), tree(straight)
    differing = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
    return f"other bytes in {differing[:5]}" if differing else None


def comparison_difference(out: Path, straight: Path) -> str | None:
    """Tables, results without times, weights and rows of every training; None: the same."""
    for name in ("table.csv", "table.md"):
        if (out / name).read_bytes() != (straight / name).read_bytes():
            return f"{name} differs"
    if _plain(out / "results.json") != _plain(straight / "results.json"):
        return "results.json differs"
    for path in sorted(straight.rglob("model.safetensors")):
        folder = out / path.parent.relative_to(straight)
        if (folder / path.name).read_bytes() != path.read_bytes():
            return f"{folder}: other weights"
        if _rows(folder) != _rows(path.parent):
            return f"{folder}: other rows"
    return None


def evaluation_difference(run: Path, straight: Path) -> str | None:
    """eval.json without times, and the bytes of the checkpoints and weights; None: the same."""
    if _plain(run / "eval.json") != _plain(straight / "eval.json"):
        return "eval.json differs"
    here, there = (
        {n: b for n, b in tree(each).items() if n.endswith((".pt", ".safetensors"))} for each in (run, straight)
    )
    return None if here == there else "an evaluation changed checkpoints or weights"


def _names(run: Path) -> set[str]:
    names = {str(path.relative_to(run)) for path in run.rglob("*")} - _OF_THE_MOMENT
    # set aside, and said so; and a log of a kind that a torn config.yaml forgot to turn off
    return {name for name in names if not name.endswith(".damaged") and not name.startswith("tensorboard")}


def _rows(run: Path) -> list[dict[str, Any]]:
    return [_untimed(row) for row in read_metrics(run / "metrics.jsonl")]


def _plain(path: Path) -> Any:
    return _untimed(json.loads(path.read_text("utf-8")))


def _untimed(value: Any) -> Any:
    """Without what depends on the machine or the place."""
    if isinstance(value, Mapping):
        moment = ("seconds", "cost", "seconds_each", "file", "run", "directory")
        return {k: _untimed(v) for k, v in value.items() if not k.startswith("wall/") and k not in moment}
    return [_untimed(each) for each in value] if isinstance(value, list) else value


def _difference(here: Any, there: Any, where: str) -> str | None:
    """The first leaf of two states that differs in type, shape or bits."""
    if type(here) is not type(there):
        return f"{where}: {type(here).__name__}, undisturbed {type(there).__name__}"
    if isinstance(here, torch.Tensor):
        same = (
            here.dtype == there.dtype
            and here.shape == there.shape
            and here.numpy().tobytes() == there.numpy().tobytes()
        )
        return None if same else f"{where}: other numbers"
    if isinstance(here, dict):
        if here.keys() != there.keys():
            return f"{where}: other keys {sorted(map(str, here.keys() ^ there.keys()))[:5]}"
        return next(filter(None, (_difference(here[k], there[k], f"{where}/{k}") for k in here)), None)
    if isinstance(here, list | tuple):
        if len(here) != len(there):
            return f"{where}: {len(here)} entries, undisturbed {len(there)}"
        pairs = enumerate(zip(here, there, strict=True))
        return next(filter(None, (_difference(a, b, f"{where}/{i}") for i, (a, b) in pairs)), None)
    return None if here == there else f"{where}: {here!r}, undisturbed {there!r}"
