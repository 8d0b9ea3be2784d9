"""``.ci/bill_of_materials.py``: every requirement that is installed is listed, with what it needs and its licence."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bill_of_materials", ROOT / ".ci" / "bill_of_materials.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bill(program: ModuleType, tmp_path: Path) -> dict[str, Any]:
    assert program.main(["--out", str(tmp_path)]) == 0
    found: dict[str, Any] = json.loads((tmp_path / "sbom.cdx.json").read_text())
    return found


def test_the_bill_holds_what_pyproject_asks_for(bill: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {text.partition(">=")[0].lower().replace("_", "-") for text in project["dependencies"]}
    assert {"torch", "pyyaml", "opencv-python-headless"} <= asked
    names = {component["name"]: component["version"] for component in bill["components"]}
    assert asked <= names.keys()
    assert names["torch"] == metadata.version("torch")
    assert "markupsafe" in names  # of jinja2
    assert not {"semiovs", "ruff", "sphinx"} & names.keys()  # itself, developers' tools


def test_the_bill_is_cyclonedx(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["serialNumber"].startswith("urn:uuid:")
    own = bill["metadata"]["component"]
    refs = [component["bom-ref"] for component in (own, *bill["components"])]
    assert len(refs) == len(set(refs))
    assert {row["ref"] for row in bill["dependencies"]} == set(refs)
    assert {ref for row in bill["dependencies"] for ref in row["dependsOn"]} <= set(refs)
    needs = {row["ref"]: row["dependsOn"] for row in bill["dependencies"]}
    assert f"pkg:pypi/torch@{metadata.version('torch')}" in needs[own["bom-ref"]]


def test_the_table_names_each_licence(program: ModuleType, tmp_path: Path) -> None:
    assert program.main(["--extra", "video", "--out", str(tmp_path)]) == 0
    lines = (tmp_path / "licences.md").read_text().splitlines()
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert len(lines) == 2 + len(bill["components"])
    assert f"| numpy | {metadata.version('numpy')} | " in "\n".join(lines)
    assert {line.count("|") for line in lines} == {4}
    assert "transformers" not in {component["name"] for component in bill["components"]}


def test_what_is_not_installed_is_said(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = program._is_installed
    monkeypatch.setattr(program, "_is_installed", lambda name: name != "timm" and there(name))
    assert program.main(["--extra", "video", "--out", str(tmp_path)]) == 0
    assert "not installed, so not listed: " in capsys.readouterr().err
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert "timm" not in {component["name"] for component in bill["components"]}
    assert program.main(["--extra", "nothing", "--out", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("about", "classifiers", "licence"),
    [
        ({"License-Expression": "MIT AND Zlib", "License": "old"}, [], "MIT AND Zlib"),
        ({"License": "long text"}, ["License :: OSI Approved :: MIT License"], "MIT"),
        ({}, ["License :: OSI Approved", "License :: Other/Proprietary License"], "Other/Proprietary License"),
        ({"License": "BSD 3-Clause\n\nCopyright"}, ["Topic :: Software"], "BSD 3-Clause"),
        ({}, [], ""),
    ],
)
def test_licences(program: ModuleType, about: dict[str, str], classifiers: list[str], licence: str) -> None:
    assert program.find_licence(about, classifiers) == licence
