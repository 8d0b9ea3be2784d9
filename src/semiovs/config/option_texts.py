"""Options that are given as text: ``OPTION=VALUE``, the class of each value of a mask, and single words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from semiovs.config.yaml_reader import read_yaml
from semiovs.errors import ConfigError, UsageError

_Class = TypeVar("_Class", bound=int | str)


def parse_set(pairs: Iterable[str]) -> dict[str, Any]:
    """Values of ``--set OPTION=VALUE`` by name, read as YAML, or as text where they are none.

    Raises:
        UsageError: no such pair, or an option with two values.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: expected KEY=VALUE, like dilations=[6,12,18]")
        if given.setdefault(key, text) != text:
            raise UsageError(f"--set: '{key}' is given twice, as '{given[key]}' and as '{text}'; give it once")
    options: dict[str, Any] = {}
    for key, text in given.items():
        try:
            options[key] = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError):  # such as ``2001-99-99``
            options[key] = text
    return options


def parse_map(texts: Sequence[str]) -> dict[str, int | str]:
    """Join the values of ``--map``: each ``7=road,8=ignore``, ``128,64,128=road;0,0,0=ignore``, or a YAML file.

    Raises:
        UsageError: one that does not hold, or a value with two classes; ConfigError: the same in a file.
    """
    return join_maps(pair for text in texts for pair in _parse_one_map(text))


def join_maps(pairs: Iterable[tuple[str, _Class]]) -> dict[str, _Class]:
    """Join the (value, class) of options that may be repeated.

    Raises:
        UsageError: a value with two classes.
    """
    mapping: dict[str, _Class] = {}
    for value, name in pairs:
        if mapping.setdefault(value, name) != name:
            raise UsageError(f"--map: '{value}' is given twice, as '{mapping[value]}' and as '{name}'; give it once")
    return mapping


def _parse_one_map(text: str) -> Iterable[tuple[str, int | str]]:
    path = Path(text)
    if path.suffix in {".yaml", ".yml"}:
        data = read_yaml(path)
        if not isinstance(data, dict):
            raise ConfigError(f"--map {text}: expected lines 'value: class'")
        return [(str(key), value) for key, value in data.items()]
    pairs: list[tuple[str, int | str]] = []
    key: list[str] = []
    for part in re.split("[,;]", text):
        value, equals, name = part.partition("=")
        key.append(value.strip())
        if equals:
            pairs.append((",".join(key), name.strip()))
            key = []
    if key or not all(name for _, name in pairs):
        raise UsageError(f"--map {text}: expected '7=road,8=ignore' or a YAML file")
    return pairs


def parse_rare(text: str) -> Literal["global", "ignore"]:
    """Value of ``--rare``."""
    if text == "global":
        return "global"
    if text == "ignore":
        return "ignore"
    raise UsageError(f"--rare {text}: global or ignore")


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of ``--shard i/n``."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match:
        raise UsageError(f"--shard {text}: expected I/N, like 0/4")
    if not int(match[2]):
        raise UsageError(f"--shard {text}: N, the number of shards, must be at least 1")
    return int(match[1]), int(match[2])


def parse_on_error(text: str) -> Literal["fail", "skip"]:
    """Value of ``--on-error``."""
    if text == "fail":
        return "fail"
    if text == "skip":
        return "skip"
    raise UsageError(f"--on-error {text}: skip or fail")
