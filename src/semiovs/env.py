"""Environment variables and the facts of this machine, in one place."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Directory for everything that can be made again: `SEMIOVS_CACHE`, else the user's cache."""
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
    """Directory that is searched for weights: `SEMIOVS_WEIGHTS_DIR`, else `weights` in the cache."""
    given = os.environ.get("SEMIOVS_WEIGHTS_DIR")
    return Path(given).expanduser() if given else cache_dir() / "weights"


def log_level() -> str:
    """Level of the program's own log (`SEMIOVS_LOG_LEVEL`), INFO by default."""
    return os.environ.get("SEMIOVS_LOG_LEVEL", "INFO").upper()


def hub_offline() -> bool:
    """Whether the user forbade the hub (`HF_HUB_OFFLINE`)."""
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}
