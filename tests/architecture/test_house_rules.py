"""The rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import inspect
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "semiovs").rglob("*.py"))
HARD_CAP = 400
FUNCTION_CAP = 50
STEP_CAP = 40
BANNED = {"utils", "helpers", "common", "misc"}


def _functions(path: Path) -> list[tuple[str, ast.FunctionDef]]:
    tree = ast.parse(path.read_text("utf-8"))
    return [
        (f"{path.relative_to(ROOT)}:{n.lineno} {n.name}", n) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)
    ]


def test_files_are_small() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in SOURCES}
    too_long = {path: length for path, length in lengths.items() if length > HARD_CAP}
    assert not too_long
    assert statistics.median(lengths.values()) <= 160


def test_modules_are_named_after_nouns() -> None:
    assert not [p for p in SOURCES if p.stem in BANNED]


def test_functions_are_short() -> None:
    long = {name: n.end_lineno - n.lineno + 1 for p in SOURCES for name, n in _functions(p) if n.end_lineno}
    assert not {name: length for name, length in long.items() if length > FUNCTION_CAP}


@pytest.mark.parametrize("path", sorted((ROOT / "src/semiovs/methods").glob("*.py")), ids=lambda p: p.stem)
def test_steps_read_like_the_paper(path: Path) -> None:
    """A step holds mathematics: at most 40 lines, no host synchronisation, no device moves, no printing."""
    for name, node in _functions(path):
        if node.name in {"step", "forward"}:
            assert (node.end_lineno or 0) - node.lineno + 1 <= STEP_CAP, name
        called = {n.func.attr for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
        assert not called & {"item", "cpu", "cuda", "tolist", "numpy", "print", "nonzero", "masked_select"}, name


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, semiovs, semiovs.registry, semiovs.errors, semiovs.config.schema, semiovs.cli;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'PIL', 'timm')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _keywords(target: Callable[..., Any]) -> dict[str, Any]:
    """Keywords of a function or class, and of its bases as long as ``**options`` are handed on to them; the class's own win."""
    classes = [c for c in target.__mro__ if "__init__" in vars(c)] if isinstance(target, type) else []
    found: dict[str, Any] = {}
    for taker in [c.__init__ for c in classes] or [target]:
        parameters = inspect.signature(taker).parameters.values()
        found = {p.name: p.default for p in parameters} | found
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return found


def test_registry_rows_agree_with_their_targets() -> None:
    """Every option of a row is a keyword of the class or its bases, with the same default, and the reverse."""
    from semiovs.ovs.multi_view import ViewOptions
    from semiovs.ovs.prompted import PromptedModel
    from semiovs.registry import METHODS, SEGMENTERS, TEACHERS, VIEWS

    taken = {p.name: p.default for p in inspect.signature(ViewOptions).parameters.values()}
    assert taken == VIEWS
    plumbing = {"self", "segmenter", "num_classes", "ood", "pretrained", "weights", "args", "options"}
    for table in (METHODS, SEGMENTERS, TEACHERS):
        for entry in table.values():
            target = entry.load()
            accepted = {name: default for name, default in _keywords(target).items() if name not in plumbing}
            if inspect.isclass(target) and issubclass(target, PromptedModel):
                assert entry.options.items() >= VIEWS.items(), f"{entry.name}: add **VIEWS, build_ovs takes them"
                accepted |= VIEWS
            for option, default in entry.options.items():
                if option == "weights":
                    continue  # build_ovs hands it over by itself
                assert option in accepted, f"{entry.name}: {option} is not a keyword of {entry.target}"
                assert accepted[option] == default, f"{entry.name}.{option}"
            unused = set(accepted) - set(entry.options)
            assert not unused, f"{entry.name}: {unused} cannot be set by a user"


def test_every_method_states_its_consistency_weights() -> None:
    from semiovs.registry import METHODS

    for entry in METHODS.values():
        method = entry.load()
        assert method.consistency or not method.reads_unlabeled
        views = [name for name in method.consistency if name not in ("fp", "pt") and not name.endswith("_corr")]
        assert len(views) <= method.strong
