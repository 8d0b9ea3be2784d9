"""Setting keys in a YAML text without touching the rest: comments and layout stay; what comes out is proved by reading it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from semiovs.config.source import compose, inline, plain
from semiovs.errors import ConfigError


def with_settings(text: str, settings: Mapping[str, Any], where: str) -> str:
    """The text with each dotted key (``data.masks.map``) set.

    A key that is there is replaced; one that is not goes under the deepest section that is.

    Raises:
        ConfigError: the text is not YAML, or cannot be edited without risk; nothing is guessed.
    """
    for key, value in settings.items():
        wanted = _wanted(_data(text, where), key.split("."), value)
        text = _edited(text, key.split("."), value, where)
        if _data(text, where) != wanted:
            raise ConfigError(
                f"config: {where}: {key} cannot be set without risk in this layout; write {key}: {inline(value)}"
            )
    return text


def _data(text: str, where: str) -> dict[str, Any]:
    node = compose(text, where)
    data = {} if node is None else plain(node, where)
    if not isinstance(data, dict):
        raise ConfigError(f"config: {where}: expected keys and values")
    return data


def _wanted(data: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    inner = data.get(path[0])
    if len(path) > 1:
        value = _wanted(inner if isinstance(inner, dict) else {}, path[1:], value)
    return {**data, path[0]: value}


def _edited(text: str, path: list[str], value: Any, where: str) -> str:
    node = compose(text, where)
    if node is None:
        return text + _block(path, value, 0)
    depth = 0
    while isinstance(node, yaml.MappingNode) and depth < len(path):
        found = next(((k, v) for k, v in node.value if k.value == path[depth]), None)
        if found is None:
            return _added(text, node, path[depth:], value)
        key, node = found
        depth += 1
    if depth == len(path) and isinstance(node, yaml.Node):
        return text[: node.start_mark.index] + _flow(value) + text[_end(node) :]
    if isinstance(node, yaml.ScalarNode) and not node.value:  # ``masks:`` with nothing behind
        return text[: key.end_mark.index] + ": " + _flow(_nest(path[depth:], value)) + text[key.end_mark.index + 1 :]
    raise ConfigError(f"config: {where}:{node.start_mark.line + 1}: {path[depth - 1]} is no section")


def _added(text: str, node: yaml.MappingNode, path: list[str], value: Any) -> str:
    """Put a key first in a section, where its indent is known."""
    if node.flow_style:
        at = node.start_mark.index + 1
        rest = ", " if node.value else ""
        return f"{text[:at]}{inline(path[0])}: {_flow(_nest(path[1:], value))}{rest}{text[at:]}"
    last = node.value[-1][1]
    at = _end(last)
    line_end = text.find("\n", at)
    if line_end < 0:
        text, line_end = text + "\n", len(text)
    while isinstance(last, yaml.MappingNode | yaml.SequenceNode) and not last.flow_style and last.value:
        child = last.value[-1]
        last = child[1] if isinstance(child, tuple) else child
    return text[: line_end + 1] + _block(path, value, node.start_mark.column) + text[line_end + 1 :]


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends (a block's end mark stands after the blank lines and comments that follow it)."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _nest(path: list[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _flow(value: Any) -> str:
    return inline(value)


def _block(path: list[str], value: Any, indent: int) -> str:
    lines = [f"{' ' * (indent + 2 * depth)}{inline(key)}:" for depth, key in enumerate(path)]
    lines[-1] += f" {_flow(value)}"
    return "\n".join(lines) + "\n"
