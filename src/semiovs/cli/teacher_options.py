"""What the verbs that ask a teacher, or work in parts, make of their options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from semiovs.errors import ConfigError, UsageError


def teacher_options(folder: Path | None, mapping: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Options of the teacher from ``--from``, ``--map`` and ``--set``."""
    import yaml

    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: expected option=value")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            options[key] = value
    if folder is not None:
        options["root"] = str(folder)
    if mapping is not None:
        options["map"] = mapping_of(mapping)
    return options


def mapping_of(text: str) -> dict[str, int | str]:
    """``7=road,8=ignore`` or ``128,64,128=road;0,0,0=ignore``, or a YAML file with a mapping."""
    import yaml

    path = Path(text)
    if path.suffix in {".yaml", ".yml"}:
        try:
            data = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
            raise ConfigError(f"--map {text}: cannot be read: {failure}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"--map {text}: expected lines 'value: class'")
        return {str(key): value for key, value in data.items()}
    mapping: dict[str, int | str] = {}
    key: list[str] = []
    for part in re.split("[,;]", text):
        value, equals, name = part.partition("=")
        key.append(value.strip())
        if equals:
            mapping[",".join(key)] = name.strip()
            key = []
    if key or not all(name for name in mapping.values()):
        raise UsageError(f"--map {text}: expected '7=road,8=ignore' or a YAML file")
    return mapping


def shard_of(text: str) -> tuple[int, int]:
    """(i, n) of ``--shard i/n``."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match:
        raise UsageError(f"--shard {text}: expected I/N, like 0/4")
    return int(match[1]), int(match[2])


def on_error_of(text: str) -> Literal["fail", "skip"]:
    """Value of ``--on-error``."""
    if text == "fail":
        return "fail"
    if text == "skip":
        return "skip"
    raise UsageError(f"--on-error {text}: skip or fail")
