"""What is built holds what is in the repository, and what pyproject.toml promises can be installed as its oldest
versions.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_every_file_of_the_package(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = (path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert packed == {path.relative_to(ROOT / "src").as_posix() for path in files}
    assert {Path(name).suffix for name in packed} == {".py", ".yaml", ".html", ".json", ".md", ".safetensors", ".typed"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only git knows which files belong to the repository")
def test_the_sdist_holds_every_file_of_the_repository(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name for name in listed.split("\0") if (ROOT / name).is_file()} <= packed


def oldest_versions(text: str) -> list[str]:
    spec = importlib.util.spec_from_file_location("oldest", ROOT / ".ci" / "oldest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[str] = module.oldest_versions(text)
    return found


def test_every_requirement_has_one_oldest_version() -> None:
    pins = oldest_versions((ROOT / "pyproject.toml").read_text("utf-8"))
    assert {pin.partition("==")[0] for pin in pins} >= {"torch", "timm", "typer", "transformers", "hatchling", "pytest"}


PROJECT = """
build-system.requires = ["tool>=1.27"]
[project]
name = "ours"
dependencies = ["a_b>=1.2", {more}]
optional-dependencies = {{x = ["c>=3"], dev = ["ours[x]", "tool>=1.27"]}}
"""


def test_oldest_versions_are_the_lower_bounds() -> None:
    assert oldest_versions(PROJECT.format(more="")) == ["a_b==1.2", "c==3", "tool==1.27"]


@pytest.mark.parametrize("odd", ["d", "d~=1.0", "d>=1,<2", "tool>=2"])
def test_a_requirement_without_one_lower_bound_is_refused(odd: str) -> None:
    with pytest.raises(ValueError, match=f"'{odd}': write name>=X"):
        oldest_versions(PROJECT.format(more=f'"{odd}"'))
