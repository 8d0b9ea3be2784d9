"""The rules inside the packages: how large a folder is, who imports whom, and who needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from semiovs.cli.app import VERBS, load_verb

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "semiovs"
CLI = PACKAGE / "cli"
FOLDER_CAP = 30
CLI_CAP = 50  # one file a verb

#: Everything below images, lists, formats, stores: works where torch is not wanted, and starts quickly.
WITHOUT_TORCH = (
    "errors", "env", "files", "read_ahead", "download", "registry", "report", "config", "vocab", "images",
    "similarity", "store", "exchange", "datasets",
)  # fmt: skip
#: What reads text alone.
WITHOUT_NUMPY = ("errors", "env", "files", "read_ahead", "download", "registry", "config", "vocab")

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]


def test_folders_are_small() -> None:
    folders = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    sizes = {str(f.relative_to(PACKAGE)): sum(path.is_file() for path in f.iterdir()) for f in folders}
    assert sizes["cli"] > 30
    assert {name: n for name, n in sizes.items() if n > (CLI_CAP if name == "cli" else FOLDER_CAP)} == {}


def _commands() -> dict[str, set[str]]:
    """Module of `cli` that a verb names -> the modules that define its command, or the commands of its group."""
    found: dict[str, set[str]] = {}
    for name, verb in VERBS.items():
        command = load_verb(name)
        several = getattr(command, "commands", {"": command}).values()
        found[verb.target.partition(":")[0]] = {_function(one).__module__ for one in several}
    return found


def _function(command: object) -> object:
    """What typer wraps for a command."""
    function = command.callback  # type: ignore[attr-defined]
    return getattr(function, "__wrapped__", function)


def test_no_verb_imports_another_one() -> None:
    commands = _commands()
    verbs = set(commands) | {module for modules in commands.values() for module in modules}
    assert {"semiovs.cli.train", "semiovs.cli.data_check", "semiovs.cli.labels_stores", "semiovs.cli.config"} <= verbs
    assert "semiovs.cli.console" not in verbs
    wrong = {}
    for path in sorted(CLI.glob("*.py")):
        module = f"semiovs.cli.{path.stem}"
        own = {module} | commands.get(module, set())
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        imported = {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
        imported |= {f"{n.module}.{alias.name}" for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names}
        imported |= {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
        if other := (imported & verbs) - own:
            wrong[path.name] = sorted(other)
    assert wrong == {}, "what two verbs need belongs into a module that defines no command"


def _imported(package: str, library: str) -> str:
    """What a new process says of `library` once it imported every module of a package."""
    code = (
        "import importlib, pkgutil, sys; module = importlib.import_module(sys.argv[1]);"
        "paths = getattr(module, '__path__', []);"
        "names = [found.name for found in pkgutil.walk_packages(paths, module.__name__ + '.')];"
        "first = next((n for n in names if importlib.import_module(n) and sys.argv[2] in sys.modules), '');"
        "print('imports', sys.argv[2], 'by', first) if sys.argv[2] in sys.modules else print('free of it')"
    )
    command = [sys.executable, "-c", code, f"semiovs.{package}", library]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("package", WITHOUT_TORCH)
def test_torch_is_not_needed(package: str) -> None:
    assert _imported(package, "torch") == "free of it"


@pytest.mark.parametrize("package", WITHOUT_NUMPY)
def test_numpy_is_not_needed(package: str) -> None:
    assert _imported(package, "numpy") == "free of it"


def test_what_is_imported_is_found() -> None:
    assert _imported("models", "torch").startswith("imports torch by")


def _packages() -> list[str]:
    """Packages of more than one module or package."""
    found = []
    for init in PACKAGE.rglob("__init__.py"):
        inside = [p for p in init.parent.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
        if len(inside) > 2:
            found.append(".".join(init.parent.relative_to(PACKAGE.parent).parts))
    return sorted(found)


@pytest.mark.parametrize("package", _packages())
def test_every_package_has_floors(package: str) -> None:
    """`lint-imports` reads the contracts; an exhaustive one knows every module of its package."""
    (contract,) = [c for c in CONTRACTS if c["type"] == "layers" and package in c["containers"]]
    assert contract["exhaustive"]
    assert "ignore_imports" not in contract


def test_packages_are_found() -> None:
    assert {"semiovs", "semiovs.cli", "semiovs.models.sed", "semiovs.images.containers"} <= set(_packages())


def test_unit_tests_mirror_the_package() -> None:
    """A room of `tests/unit` is a room of the package; beside them are the tests of its top-level modules, and shared
    toys.
    """
    unit = ROOT / "tests" / "unit"
    rooms = {path.relative_to(unit).parts[0] for path in unit.rglob("test_*.py") if path.parent != unit}
    assert len(rooms) > 10
    assert [room for room in sorted(rooms) if not (PACKAGE / room / "__init__.py").is_file()] == []
    flat = [path.stem.removeprefix("test_") for path in sorted(unit.glob("test_*.py"))]
    assert [name for name in flat if not (PACKAGE / f"{name}.py").is_file()] == []
