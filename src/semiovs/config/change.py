"""Change settings in a user's YAML file: a copy of the old one is kept, and what no longer loads is put back."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiovs.config.edit import set_keys
from semiovs.config.load import load_config
from semiovs.errors import UsageError
from semiovs.files import write_bytes, write_text


def change_settings(path: Path, settings: Mapping[str, Any]) -> str:
    """Set dotted keys in the file, with a copy of it as it was beside it; returns the lines that changed.

    Raises:
        UsageError: the file cannot be edited without risk, or would not hold; it is as it was.
    """
    raw = path.read_bytes()
    before = raw.decode("utf-8-sig")
    after = set_keys(before, settings, str(path))
    backup = _choose_backup(path)
    write_bytes(backup, raw)
    write_text(path, after)
    try:
        load_config(str(path))
    except UsageError:
        write_bytes(path, raw)
        raise
    change = difflib.unified_diff(before.splitlines(), after.splitlines(), str(backup), str(path), lineterm="", n=1)
    return "\n".join(change)


def _choose_backup(path: Path) -> Path:
    """Return a name for the copy that is still free."""
    number = 0
    while True:
        candidate = path.with_name(f"{path.name}.bak{number or ''}")
        if not candidate.exists():
            return candidate
        number += 1
