"""Read YAML with line numbers, and format values as YAML.

Scalars follow YAML 1.2: ``1e-3`` is a number, ``no`` and ``1_16`` are text, and only ``true`` and ``false`` are
booleans. Tags, duplicate keys and self-references are refused; ``${`` is taken literally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semiovs.errors import ConfigError

#: Largest number of values in a document, against mistakes and alias bombs.
MAX_VALUES = 100_000
#: Most characters of a document; a megabyte takes up to ten seconds.
MAX_CHARACTERS = 1_000_000
#: Most lists and mappings in each other.
MAX_DEPTH = 100

_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)", "~nN"),
    ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"(?:[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+.0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}
    depth = 0

    def fetch_flow_collection_start(self, kind: Any) -> None:
        """Scan a bracket; the scanner is far ahead of the nodes, and takes seconds for thousands of open ones."""
        if self.flow_level >= MAX_DEPTH:
            raise RecursionError
        super().fetch_flow_collection_start(kind)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; deep ones are refused before the scanner takes seconds for them."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RecursionError
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[Any, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's signature
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if any(not c.isprintable() for c in text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        letters = [*_first, ""] if _tag.endswith("null") else list(_first)
        _class.add_implicit_resolver(_tag, re.compile(rf"^{_pattern}$"), letters)
_Dumper.add_representer(str, _represent_text)


@dataclass(frozen=True)
class YamlKey:
    """A key of a mapping with its line (from 1) and the node of its value."""

    name: str
    line: int
    node: yaml.Node


def parse_yaml(text: str, where: str) -> yaml.Node | None:
    """Parse `text`; None if it holds nothing. `where` names it in errors.

    Raises:
        ConfigError: not YAML, where the message has line and column, or more than `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"config: {where}: {len(text):,} characters; at most {MAX_CHARACTERS:,} are read, is it another file?"
        )
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        hint = "; indent with spaces, not tabs" if "\\t" in (error.problem or "") else ""
        raise ConfigError(f"config: {place}: not valid YAML: {error.problem or error.context}{hint}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config: {where}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ConfigError(f"config: {where}: nested too deeply") from None
    return node


def read_yaml(path: Path) -> Any:
    """Read a YAML file as Python data; None if it holds nothing.

    Raises:
        ConfigError: cannot be read, or is not YAML.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise ConfigError(f"config: {path}: cannot be read: {reason}") from None
    node = parse_yaml(text, str(path))
    return None if node is None else to_plain(node, str(path))


def iterate_keys(node: yaml.MappingNode, where: str) -> Iterator[YamlKey]:
    """Iterate over the keys of a mapping in file order.

    Raises:
        ConfigError: a key that is a list or mapping.
    """
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"config: {where}:{line}: a key must be a word, not a list or mapping")
        yield YamlKey(key.value, line, value)


def to_plain(node: yaml.Node, where: str, *, words: bool = False) -> Any:
    """Convert a node to Python data (dict, list, str, int, float, bool, None).

    words: keep numbers and booleans as text.

    Raises:
        ConfigError: tags, duplicate keys, self-references, too many values.
    """
    try:
        return _Constructor(where, words).build(node)
    except RecursionError:
        raise ConfigError(f"config: {where}: nested too deeply") from None


def locate_value(node: yaml.Node, path: Iterable[int | str]) -> tuple[yaml.Node, str]:
    """Find the value at `path`, and its dotted key in the file.

    path: keys and indices, as pydantic reports them; an index into a mapping counts its values; parts that the file
    does not have are skipped. In the key, an item of a list appears by its ``name:``, if it has one.
    """
    names: list[str] = []
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key.value, value) for key, value in node.value]
            found = next((pair for index, pair in enumerate(pairs) if part in (index, pair[0])), None)
            names += [found[0]] if found else []
            node = found[1] if found else node
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            names += _item_name(node)
    return node, ".".join(names)


def _item_name(item: yaml.Node) -> list[str]:
    pairs = item.value if isinstance(item, yaml.MappingNode) else []
    return [value.value for key, value in pairs if key.value == "name" and isinstance(value, yaml.ScalarNode)]


class _Constructor:
    def __init__(self, where: str, words: bool) -> None:
        self.where = where
        self.words = words
        self.count = 0
        self.open: set[int] = set()

    def build(self, node: yaml.Node) -> Any:
        place = f"config: {self.where}:{node.start_mark.line + 1}"
        self.count += 1
        if self.count > MAX_VALUES:
            raise ConfigError(f"{place}: more than {MAX_VALUES} values")
        if id(node) in self.open:
            raise ConfigError(f"{place}: a value that contains itself")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.ScalarNode):
                return _parse_scalar(node, place, self.words)
            if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
                return [self.build(item) for item in node.value]
            if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
                return self.mapping(node)
        finally:
            self.open.discard(id(node))
        raise ConfigError(f"{place}: tag '{node.tag}' is not supported")

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key in iterate_keys(node, self.where):
            if key.name in result:
                raise ConfigError(f"config: {self.where}:{key.line}: key '{key.name}' is given twice")
            result[key.name] = self.build(key.node)
        return result


def _parse_scalar(node: yaml.ScalarNode, place: str, words: bool) -> Any:
    text: str = node.value
    try:
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "bool" | "int" | "float" if words:
                return text
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text)
            case "float":
                return float(text.replace(".inf", "inf").replace(".nan", "nan") if text[-1].isalpha() else text)
    except ValueError:
        raise ConfigError(f"{place}: '{text}' is not a number") from None
    raise ConfigError(f"{place}: tag '{node.tag}' is not supported")


def format_inline(value: Any) -> str:
    """Format `value` as YAML on one line, which `to_plain` reads back."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").rstrip("\n")
