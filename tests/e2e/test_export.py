"""``semiovs export`` (the cases are in `export_cases`), in a process of its own: with OpenVINO 2026.4 in it, a process
that trains afterwards may crash.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason=f"extra 'export': {package} is not installed")

ROOT = Path(__file__).resolve().parents[2]


def test_every_case_of_exports_passes():
    words = ["-q", "-p", "no:cacheprovider", "--show-capture=no", "tests/e2e/export_cases.py"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
