"""The rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

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
    functions = _functions(path)
    assert functions or path.stem == "__init__"
    for name, node in functions:
        if node.name == "forward" or "step" in node.name.split("_"):
            assert (node.end_lineno or 0) - node.lineno + 1 <= STEP_CAP, name
        called = {n.func.attr for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
        assert not called & {"item", "cpu", "cuda", "tolist", "numpy", "print", "nonzero", "masked_select"}, name


@pytest.mark.parametrize("name", ["maths", "terms", "step", "ood"])
def test_the_ood_stream_knows_no_method(name: str) -> None:
    """One file composes with any method: neither it nor what it stands on imports the base class, even for types."""
    tree = ast.parse((ROOT / f"src/semiovs/methods/{name}.py").read_text("utf-8"))
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    own = {module.removeprefix("semiovs.methods.") for module in imported if module.startswith("semiovs.methods")}
    assert own <= {"maths", "terms", "step"}


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, semiovs, semiovs.registry, semiovs.errors, semiovs.config, semiovs.cli.listing;"
        "semiovs.config.load_config('semivl/voc').dump();"
        "[table.as_json() for table in vars(semiovs.registry).values() if isinstance(table, "
        "semiovs.registry.RegistryTable)];"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'PIL', 'timm')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_student_of_ours_starts_without_what_others_need() -> None:
    """Predicting, training and our own encoders; timm and torchvision import torch._dynamo, 1.5 s of a CPU."""
    code = (
        "import sys, semiovs.inference, semiovs.engine.training; from semiovs.models.encoders import build_encoder;"
        "build_encoder('tiny'); build_encoder('small');"
        "late = 'torchvision timm matplotlib tensorboard open_clip transformers scipy pandas datasets'.split();"
        "print([m for m in late if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_method_states_its_consistency_weights() -> None:
    from semiovs.registry import METHODS

    assert len(METHODS) >= 9
    for entry in METHODS.values():
        method = entry.load()
        assert method.consistency or not method.reads_unlabeled
        views = [name for name in method.consistency if name not in ("fp", "pt") and not name.endswith("_corr")]
        assert len(views) <= method.strong
