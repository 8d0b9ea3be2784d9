"""The tests that need a GPU, run by pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.gpu.meter import Measured, Place

_ROOT = Path(__file__).parents[2]
_MARK = "pytest.mark.gpu"
_SECONDS = 540


def rows(place: Place) -> list[Measured]:
    """How many passed, failed and were skipped; gpu-tests.xml says more."""
    out = place.out / "gpu-tests.xml"
    files = [str(path.relative_to(_ROOT)) for path in sorted((_ROOT / "tests").rglob("test_*.py")) if _has_mark(path)]
    paths = [str(_ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={out}",
         "--continue-on-collection-errors", *files],
        cwd=_ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True,
        timeout=_SECONDS, check=False,
    )  # fmt: skip
    if not out.is_file():
        raise RuntimeError(f"pytest wrote no results (exit code {done.returncode}): {done.stdout[-2000:]}{done.stderr}")
    return counted(out)


def counted(file: Path) -> list[Measured]:
    """Of a JUnit file; what failed or was skipped is named."""
    cases: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in ET.parse(file).iter("testcase"):
        kinds = {child.tag for child in case}
        kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        cases[kind].append(str(case.get("name")))
    return [
        Measured(f"GPU tests, {kind}", len(found), "tests", note="" if kind == "passed" else ", ".join(found))
        for kind, found in cases.items()
    ]


def _has_mark(path: Path) -> bool:
    return _MARK in path.read_text("utf-8")
