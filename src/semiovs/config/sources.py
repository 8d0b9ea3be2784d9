"""Sources of configurations: presets of the package, YAML files, run directories.

Names come from users, so `os.path` is used here: its tests answer False where `pathlib` raises (names too long, null
bytes).
"""

# ruff: noqa: PTH111, PTH112, PTH113, PTH118, PTH120, PTH208

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from semiovs.config.yaml_reader import format_inline
from semiovs.errors import ConfigError, did_you_mean

SUFFIXES = (".yaml", ".yml")
#: Files that a folder is read from: the resolved configuration of a run, or the file that `semiovs init` writes.
IN_FOLDERS = ("config.yaml", "semiovs.yaml")


@dataclass(frozen=True)
class ConfigSource:
    """A YAML text and where it is from.

    label: name in messages and origins; name: default of `run.name`; folder: directory of the file, None for presets.
    """

    label: str
    name: str
    text: str
    folder: Path | None

    def format_origin(self, line: int) -> str:
        """Where a value on `line` comes from: ``my.yaml:12`` or ``preset pascal/92``."""
        return self.label if self.folder is None else f"{self.label}:{line}"


@cache
def _find_presets() -> dict[str, Traversable]:
    found: dict[str, Traversable] = {}

    def walk(folder: Traversable, prefix: str) -> None:
        for entry in sorted(folder.iterdir(), key=lambda e: e.name):
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".yaml"):
                found[prefix + entry.name.removesuffix(".yaml")] = entry

    walk(resources.files("semiovs.config") / "presets", "")
    return found


def list_presets() -> dict[str, str]:
    """List the shipped presets: name -> summary (the first comment line of the file)."""
    return {name: _read_summary(entry.read_text("utf-8")) for name, entry in _find_presets().items()}


def _read_summary(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def find_source(name: str, *, folder: Path, cwd: Path, where: str = "") -> ConfigSource:
    """Find and read a preset, YAML file, run directory or folder with a semiovs.yaml.

    folder: start of relative paths; cwd: paths in messages are relative to it; where: place of the reference, for
    messages.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = os.path.normpath(os.path.join(folder, os.path.expanduser(name)))
    if not name.endswith(SUFFIXES):
        preset = _find_presets().get(name)
        if preset is not None:
            return ConfigSource(f"preset {name}", name, preset.read_text("utf-8"), None)
        inside = (os.path.join(path, file) for file in IN_FOLDERS)
        path = next((file for file in inside if os.path.isfile(file)), path)
    if name and os.path.isfile(path):
        return _read_file(Path(path), cwd)
    if name and os.path.isdir(path):
        raise ConfigError(
            f"config: '{name}' is a directory without config.yaml or semiovs.yaml{where}; if it holds images: "
            f"semiovs init {shlex.quote(name)}"
        )
    raise ConfigError(f"config: no preset or file '{name}'{_suggest_source(name, os.path.dirname(path))}{where}")


def make_source(values: Mapping[str, Any], label: str) -> ConfigSource:
    """The source that a mapping is: of sections (``{"train": {"steps": 9}}``) or dotted keys (``{"train.steps": 9}``).

    Raises:
        ConfigError: a value that no YAML file can hold.
    """
    return ConfigSource(label, "run", format_inline(to_yaml_data(values)), None)


def to_yaml_data(value: Any) -> Any:
    """Plain data for `format_inline`: paths become text, tuples lists, and scalars of NumPy numbers.

    Raises:
        ConfigError: a value of another type.
    """
    if isinstance(value, Mapping):
        return {str(key): to_yaml_data(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_yaml_data(inner) for inner in value]
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    plain = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
    if plain is None or type(plain) in (bool, int, float, str):
        return plain
    raise ConfigError(f"config: {value!r} ({type(value).__name__}) is no value of a configuration")


def _read_file(path: Path, cwd: Path) -> ConfigSource:
    label = os.path.relpath(path, cwd)
    label = str(path) if label.startswith("..") else label
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"config: {label}: cannot be read: {reason}") from None
    return ConfigSource(label, path.stem, text, path.parent)


def _suggest_source(name: str, folder: str) -> str:
    beside = [entry for entry in os.listdir(folder) if entry.endswith(SUFFIXES)] if os.path.isdir(folder) else []
    prefix = name.rpartition("/")[0]
    files = [f"{prefix}/{file}" if prefix else file for file in beside]
    hint = did_you_mean(name, [*_find_presets(), *files])
    return hint if hint.startswith(" (did") else "; `semiovs list presets` shows the presets"
