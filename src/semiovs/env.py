"""Environment variables of semiovs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Directory of files that can be made again: `SEMIOVS_CACHE`, else ``semiovs`` in the user's cache."""
    given = os.environ.get("SEMIOVS_CACHE")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "semiovs"


def data_dir() -> Path | None:
    """Root of the user's data sets (`SEMIOVS_DATA`), or None."""
    given = os.environ.get("SEMIOVS_DATA")
    return Path(given).expanduser() if given else None


def weights_dir() -> Path:
    """Directory of weight files: `SEMIOVS_WEIGHTS_DIR`, else ``weights`` in the cache."""
    given = os.environ.get("SEMIOVS_WEIGHTS_DIR")
    return Path(given).expanduser() if given else cache_dir() / "weights"


def log_level() -> str:
    """Log level (`SEMIOVS_LOG_LEVEL`), INFO by default."""
    return os.environ.get("SEMIOVS_LOG_LEVEL", "INFO").upper()


def offline() -> bool:
    """Whether all access to the network is switched off (`SEMIOVS_OFFLINE`)."""
    return _is_on("SEMIOVS_OFFLINE")


def hub_offline() -> bool:
    """Whether access to the Hugging Face hub is switched off (`SEMIOVS_OFFLINE` or `HF_HUB_OFFLINE`)."""
    return offline() or _is_on("HF_HUB_OFFLINE")


def explain_offline() -> str:
    """The variable that switched the network or the hub off, as ``NAME is set``; "" if none did."""
    return "SEMIOVS_OFFLINE is set" if offline() else "HF_HUB_OFFLINE is set" if hub_offline() else ""


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "0").lower() in {"1", "true", "yes", "on"}
