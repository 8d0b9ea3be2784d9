"""Keys that hold paths, and what relative paths start from.

Names come from users, so `os.path` is used: its tests answer False where `pathlib` raises (names too long, null bytes).
"""

# ruff: noqa: PTH110, PTH111, PTH117, PTH118, PTH207

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path

from semiovs.config.layers import COMMAND_LINE, PYTHON, Layer, Leaf


class PathRule(Enum):
    """What a relative path of the configuration starts from.

    ROOT: the file that says it (preset, default, command line, Python: the working directory). DATA: `data.root`, and
    on the command line and in Python first the working directory if the path exists there. WEIGHTS: the file that says
    it, on the command line and in Python the working directory, where it exists; else it stays as it is (a name in
    `SEMIOVS_WEIGHTS_DIR`).
    """

    ROOT = "root"
    DATA = "data"
    WEIGHTS = "weights"


#: Every key that holds a path.
PATHS: Mapping[str, PathRule] = {
    "data.root": PathRule.ROOT,
    "data.classes": PathRule.DATA,
    "data.labeled": PathRule.DATA,
    "data.unlabeled": PathRule.DATA,
    "data.val": PathRule.DATA,
    "data.held_out": PathRule.DATA,
    "data.cache.dir": PathRule.ROOT,
    "ood.images": PathRule.DATA,
    "ood.labels": PathRule.DATA,
    "model.pretrained": PathRule.WEIGHTS,
    "model.init_from": PathRule.WEIGHTS,
    "model.text_model": PathRule.WEIGHTS,
    "model.text_weights": PathRule.WEIGHTS,
}


def resolve_paths(layer: Layer, cwd: Path) -> Layer:
    """Resolve the paths of a layer by `PATHS`; `data.root` is always set and absolute."""
    result = {"data.root": Leaf("."), **layer}
    for key, rule in PATHS.items():
        leaf = result.get(key)
        if leaf is not None and isinstance(leaf.value, str) and (key != "data.classes" or Path(leaf.value).suffix):
            result[key] = replace(leaf, value=_resolve(leaf.value, leaf, rule, cwd))
    return result


def _resolve(value: str, leaf: Leaf, rule: PathRule, cwd: Path) -> str:
    path = os.path.expanduser(value)
    candidate = os.path.normpath(os.path.join(leaf.folder or cwd, path))
    if rule is PathRule.ROOT or os.path.isabs(path):
        return candidate
    said_here = leaf.origin in (COMMAND_LINE, PYTHON) or (rule is PathRule.WEIGHTS and leaf.folder is not None)
    return candidate if said_here and _path_exists(candidate) else value


def _path_exists(path: str) -> bool:
    """Whether a path exists; also for patterns with braces and stars (tars), and the directory of ``hf:DIR``."""
    if "/hf:" in path:
        path = path.replace("/hf:", "/", 1).partition(":")[0]
    if "{" in path or "*" in path:
        return os.path.exists(path) or bool(glob.glob(re.sub(r"\{[^{}]*\}", "*", path)))
    return os.path.exists(path)
