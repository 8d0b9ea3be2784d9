"""What the numbers were measured on."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from semiovs import __version__

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "bf16")
_PACKAGES = ("semiovs", "torch", "torchvision", "timm", "opencv-python-headless", "pillow", "numpy")


def hardware() -> dict[str, Any]:
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    family = [f"{key} {info[key]}" for key in ("cpu family", "model") if key in info]
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "family": ", ".join(family),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "memory_gb": _memory(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def accelerator() -> str:
    """Name of the first GPU."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"


def load() -> list[float]:
    """Load averages of the last 1, 5 and 15 minutes; empty where the system has none."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str:
    """Of an installed package; where ours runs from its sources, what these say."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return __version__ if package == "semiovs" else "not installed"


def _cpuinfo() -> dict[str, str]:
    """Entries of the first core; empty where there is no such file."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    first = file.read_text("utf-8", "replace").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def described(before: list[float], *, tiny: bool) -> dict[str, Any]:
    """Where and when something was measured; before: `load` at its begin."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "tiny": tiny,
        "hardware": hardware(),
        "versions": versions(),
        "load": {"before": before, "after": load()},
    }


def write(result: Mapping[str, Any], out: Path | None) -> None:
    """Write a result as JSON, if it is to be kept."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"written to {out}")
