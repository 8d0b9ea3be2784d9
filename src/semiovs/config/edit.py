"""Set keys in a YAML text and keep its comments and layout; the result is verified by reading it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from semiovs.config.yaml_reader import format_inline, parse_yaml, to_plain
from semiovs.errors import ConfigError

#: What a comment says in the place of a key that need not be set (``# val: a list of files, or …``); setting the key
#: replaces it.
LIST_OR, TAKEN_FROM = "a list of files, or", "taken from"


def set_keys(text: str, settings: Mapping[str, Any], where: str) -> str:
    """Set each dotted key (``data.masks.map``) in the text.

    An existing key is replaced; a new one is added to the deepest section that exists.

    Raises:
        ConfigError: the text is not YAML, or cannot be edited without risk; nothing is guessed.
    """
    for key, value in settings.items():
        wanted = _set_value(_parse_mapping(text, where), key.split("."), value)
        text = _edit_text(text, key.split("."), value, where)
        if _parse_mapping(text, where) != wanted:
            raise ConfigError(
                f"config: {where}: {key} cannot be set without risk in this layout; write {key}: {format_inline(value)}"
            )
    return text


def _parse_mapping(text: str, where: str) -> dict[str, Any]:
    node = parse_yaml(text, where)
    data = {} if node is None else to_plain(node, where)
    if not isinstance(data, dict):
        raise ConfigError(f"config: {where}: expected keys and values")
    return data


def _set_value(data: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    inner = data.get(path[0])
    if len(path) > 1:
        value = _set_value(inner if isinstance(inner, dict) else {}, path[1:], value)
    return {**data, path[0]: value}


def _edit_text(text: str, path: list[str], value: Any, where: str) -> str:
    node = parse_yaml(text, where)
    if node is None:
        return text + _format_block(path, value, 0)
    depth = 0
    while isinstance(node, yaml.MappingNode) and depth < len(path):
        found = next(((k, v) for k, v in node.value if k.value == path[depth]), None)
        if found is None:
            return _add_key(text, node, path[depth:], value)
        key, node = found
        depth += 1
    if depth == len(path) and isinstance(node, yaml.Node):
        return text[: node.start_mark.index] + _format_flow(value) + text[_find_end(node) :]
    if isinstance(node, yaml.ScalarNode) and not node.value:  # ``masks:`` with nothing behind
        return (
            text[: key.end_mark.index]
            + ": "
            + _format_flow(_nest(path[depth:], value))
            + text[key.end_mark.index + 1 :]
        )
    raise ConfigError(f"config: {where}:{node.start_mark.line + 1}: {path[depth - 1]} is no section")


def _add_key(text: str, node: yaml.MappingNode, path: list[str], value: Any) -> str:
    """Add a key to a section."""
    if node.flow_style:
        at = node.start_mark.index + 1
        rest = ", " if node.value else ""
        return f"{text[:at]}{format_inline(path[0])}: {_format_flow(_nest(path[1:], value))}{rest}{text[at:]}"
    if len(path) == 1 and (line := _find_placeholder(text, node, path[0])) is not None:
        start, end = line
        return text[:start] + _format_block(path, value, node.start_mark.column) + text[end:]
    last = node.value[-1][1]
    at = _find_end(last)
    line_end = text.find("\n", at)
    if line_end < 0:
        text, line_end = text + "\n", len(text)
    while isinstance(last, yaml.MappingNode | yaml.SequenceNode) and not last.flow_style and last.value:
        child = last.value[-1]
        last = child[1] if isinstance(child, tuple) else child
    return text[: line_end + 1] + _format_block(path, value, node.start_mark.column) + text[line_end + 1 :]


def _find_placeholder(text: str, node: yaml.MappingNode, key: str) -> tuple[int, int] | None:
    """Start and end of the comment line that stands for a key in its section."""
    indent = node.start_mark.column
    start = text.rfind("\n", 0, node.start_mark.index) + 1
    for line in text[start:].splitlines(keepends=True):
        bare = line.strip()
        if bare and not bare.startswith("#") and len(line) - len(line.lstrip()) < indent:
            return None  # the next section
        if line.startswith(tuple(f"{' ' * indent}# {key}: {words}" for words in (LIST_OR, TAKEN_FROM))):
            return start, start + len(line)
        start += len(line)
    return None


def _find_end(node: yaml.Node) -> int:
    """Find the end of a node's own text (the end mark of a block lies after the comments that follow it)."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _find_end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _nest(path: list[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _format_flow(value: Any) -> str:
    return format_inline(value)


def _format_block(path: list[str], value: Any, indent: int) -> str:
    lines = [f"{' ' * (indent + 2 * depth)}{format_inline(key)}:" for depth, key in enumerate(path)]
    lines[-1] += f" {_format_flow(value)}"
    return "\n".join(lines) + "\n"
