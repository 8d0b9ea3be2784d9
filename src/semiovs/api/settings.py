"""A configuration as a program gives it: preset, file, folder or mapping, and settings on top."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from semiovs.config import LoadedConfig, load_config, split_source
from semiovs.config.layers import PYTHON
from semiovs.config.sources import to_yaml_data
from semiovs.config.yaml_reader import format_inline
from semiovs.errors import UsageError

#: Preset, YAML file, folder with a semiovs.yaml, run directory, or a mapping of sections or dotted keys.
Source = str | os.PathLike[str] | Mapping[str, Any]
#: ``key=value``, or a mapping of dotted keys or sections.
Setting = str | Mapping[str, Any]


def load(config: Source | None, settings: Sequence[Setting]) -> LoadedConfig:
    """The configuration, as `load_config`; a first text with ``=`` is a setting, as on the command line.

    Raises:
        ConfigError: as `load_config`; UsageError: something that is no configuration or setting.
    """
    source, overrides = split(config, settings)
    return load_config(source, overrides, origin=PYTHON)


def split(config: Source | None, settings: Sequence[Setting]) -> tuple[str | Mapping[str, Any] | None, list[str]]:
    """(source or None, ``key=value`` texts).

    Raises:
        UsageError: something that is no configuration or setting; ConfigError: a value that no configuration can hold.
    """
    overrides = [text for setting in settings for text in _list_texts(setting)]
    if isinstance(config, str):
        return split_source([config, *overrides])
    if config is None or isinstance(config, Mapping):
        return config, overrides
    if isinstance(config, os.PathLike):
        return os.fspath(config), overrides
    raise UsageError(f"config: {config!r} is no preset, file, folder or mapping")


def _list_texts(setting: object) -> list[str]:
    if isinstance(setting, str):
        return [setting]
    if isinstance(setting, Mapping):
        return [f"{key}={format_inline(to_yaml_data(value))}" for key, value in setting.items()]
    raise UsageError(f"setting {setting!r}: give 'key=value' or a mapping, such as {{'train.steps': 100}}")
