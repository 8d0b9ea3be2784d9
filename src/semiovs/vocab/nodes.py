"""Nodes of a vocabulary file as what they should be, or one line that says where they are not."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from semiovs.config.source import Key, keys_of, plain
from semiovs.errors import ConfigError
from semiovs.vocab.colors import RGB, parse_hex


@dataclass(frozen=True)
class Nodes:
    """Reads nodes of the file called `label`; `path` names the key in errors."""

    label: str

    def color(self, node: yaml.Node, path: str) -> RGB:
        """``[r, g, b]`` or ``'#rrggbb'``."""
        if isinstance(node, yaml.ScalarNode) and (color := parse_hex(node.value)):
            return color
        value = plain(node, self.label)
        if isinstance(value, list) and len(value) == 3 and all(type(p) is int and 0 <= p <= 255 for p in value):
            return value[0], value[1], value[2]
        raise self.wrong(
            node, path, f"colour {value!r}; expected [red, green, blue], each 0 to 255, or '#rrggbb' in quotes"
        )

    def number(self, node: yaml.Node, path: str) -> float:
        """A number; its range is a rule of the vocabulary."""
        value = plain(node, self.label)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(node, path, f"expected a number from 0 to 1, got {value!r}")
        return float(value)

    def keys(self, node: yaml.Node, path: str) -> list[Key]:
        """The keys of a mapping of class names."""
        if not isinstance(node, yaml.MappingNode):
            example = "{vehicle: [car, bus]}" if path == "merge" else "{old name: new name}"
            raise self.wrong(node, path, f"expected a mapping like {example}")
        return list(keys_of(node, self.label))

    def texts(self, node: yaml.Node, path: str) -> tuple[str, ...]:
        """One text, or a list of them."""
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(self.text(item, path) for item in items)

    def text(self, node: yaml.Node, path: str) -> str:
        """A scalar as it stands in the file: ``no``, ``7`` and ``true`` are words here."""
        if not isinstance(node, yaml.ScalarNode):
            hint = "; put '{}' in quotes" if isinstance(node, yaml.MappingNode) and path == "templates" else ""
            raise self.wrong(node, path, f"expected text{hint}")
        text: str = node.value
        if not text.strip():
            raise self.wrong(node, path, "empty; expected a word")
        return text.strip()

    def wrong(self, node: yaml.Node, path: str, problem: str) -> ConfigError:
        """The error that says so."""
        return ConfigError(f"vocabulary: {self.at(node)}: {path}: {problem}")

    def at(self, node: yaml.Node) -> str:
        """File and line."""
        return f"{self.label}:{node.start_mark.line + 1}"


def empty(node: yaml.Node) -> bool:
    """Whether the key has no value."""
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")
