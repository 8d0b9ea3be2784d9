"""Layers of a configuration: tables of dotted key -> value with its origin, and how layers override each other."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from semiovs.config.schema import Config
from semiovs.config.sources import ConfigSource, find_source
from semiovs.config.yaml_reader import iterate_keys, parse_yaml, to_plain
from semiovs.errors import ConfigError
from semiovs.registry import METHODS

COMMAND_LINE = "command line"
#: Values that a program gives as a mapping.
PYTHON = "Python"
DEFAULT = "default"
MEASURED = "measured on the training images"

#: A section that may be given as one word: ``method=unimatch`` is ``method.name=unimatch``.
SHORT = {"method": "name", "model": "name", "ood": "images"}
#: Sections that may be absent.
OPTIONAL = frozenset({"ood"})
#: Keys that exclude each other: a layer that sets one removes the other from the layers below.
EXCLUSIVE = (("train.epochs", "train.steps"), ("run.log", "run.tensorboard"))


@dataclass(frozen=True)
class Leaf:
    """A value, its origin, and the directory of the file it is from (None: preset, default, command line)."""

    value: Any
    origin: str = DEFAULT
    folder: Path | None = None


Layer = dict[str, Leaf]


@cache
def sections() -> Mapping[str, type[BaseModel]]:
    """Dotted path of every section of the schema -> its class; that of the whole configuration is ''."""
    return types.MappingProxyType(dict(_walk_sections("", Config)))


def _walk_sections(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for part in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _walk_sections(join_key(path, name), part)


def join_key(section: str, key: str) -> str:
    """Dotted path of `key` in `section`."""
    return f"{section}.{key}" if section else key


def split_key(path: str) -> tuple[str, str]:
    """Split a dotted path into (the deepest section that holds it, the rest)."""
    section = path
    while section:
        section = section.rpartition(".")[0]
        if section in sections():
            return section, path.removeprefix(f"{section}.") if section else path
    return "", path


@lru_cache(maxsize=256)
def _parse_once(text: str, label: str) -> yaml.Node | None:
    """Presets extend each other: each is parsed once. Nobody changes the nodes."""
    return parse_yaml(text, label)


def is_within(path: str, section: str) -> bool:
    """Whether `path` is a key of `section`, at any depth."""
    return path.startswith(f"{section}.")


class LayerReader:
    """Reads sources into layers; problems are collected in `problems`. origin: of ``key=value`` arguments."""

    def __init__(self, cwd: Path, origin: str = COMMAND_LINE) -> None:
        self.cwd = cwd
        self.origin = origin
        self.where = "on the command line" if origin == COMMAND_LINE else f"in {origin}"
        self.problems: list[str] = []

    def read_chain(self, source: ConfigSource, above: tuple[str, ...] = ()) -> Layer:
        """Read the layer of `source`, laid over those that it extends."""
        parse = _parse_once if source.folder is None else parse_yaml
        node = parse(source.text, source.label)
        if node is None or (isinstance(node, yaml.ScalarNode) and to_plain(node, source.label) is None):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"config: {source.label}: expected sections like 'data:' and 'train:', got one value")
        identity = f"{source.folder}/{source.label}"
        if identity in above:
            raise ConfigError(f"config: extends: {source.label} extends itself (through {len(above)} file(s))")
        result: Layer = {}
        for name, where in self._read_extends(node, source):
            folder = source.folder or self.cwd
            parent = find_source(name, folder=folder, cwd=self.cwd, where=f" (extends) in {where}")
            result = overlay_layer(result, self.read_chain(parent, (*above, identity)))
        layer: Layer = {}
        self._read_mapping(node, "", source, layer)
        return overlay_layer(result, layer)

    def _read_extends(self, node: yaml.MappingNode, source: ConfigSource) -> Iterator[tuple[str, str]]:
        for key in iterate_keys(node, source.label):
            if key.name == "extends":
                value = to_plain(key.node, source.label)
                names = value if isinstance(value, list) else [] if value is None else [value]
                for name in names:
                    if not isinstance(name, str):
                        raise ConfigError(
                            f"config: extends: expected a preset or file, got {name!r} in "
                            f"{source.format_origin(key.line)}"
                        )
                    yield name, source.format_origin(key.line)

    def _read_mapping(self, node: yaml.MappingNode, section: str, source: ConfigSource, layer: Layer) -> None:
        seen: set[str] = set()
        for key in iterate_keys(node, source.label):
            path = join_key(section, key.name)
            origin = source.format_origin(key.line)
            if key.name in seen or path in layer:
                self.problems.append(f"config: {path}: given twice in {origin}")
                continue
            seen.add(key.name)
            if path == "extends":
                continue
            if isinstance(key.node, yaml.MappingNode) and path in sections():
                self._read_mapping(key.node, path, source, layer)
            else:
                put_leaf(layer, path, Leaf(to_plain(key.node, source.label), origin, source.folder))

    def split_extends(self, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
        """Split ``key=value`` arguments into the sources named by ``extends=``, and the others."""
        names: list[str] = []
        others: list[str] = []
        for text in overrides:
            path, equals, value = text.partition("=")
            if path.strip() != "extends" or not equals:
                others.append(text)
                continue
            node = parse_yaml(value, self.where)
            found = None if node is None else to_plain(node, self.where)
            listed: list[Any] = found if isinstance(found, list) else [found]
            if not all(isinstance(name, str) for name in listed):
                self.problems.append(f"config: extends: expected a preset or file, got {value!r} {self.where}")
                continue
            names.extend(listed)
        return names, others

    def read_command_line(self, overrides: Sequence[str]) -> Layer:
        """Read the layer of ``key=value`` arguments; the last value of a key wins."""
        layer: Layer = {}
        for text in overrides:
            path, equals, value = text.partition("=")
            path = path.strip()
            if not equals or not path:
                self.problems.append(f"config: '{text}': expected key=value {self.where}{_suggest_quotes(text)}")
                continue
            try:
                node = parse_yaml(value, self.where)
                data = None if node is None else to_plain(node, self.where)
            except ConfigError as error:
                reason = str(error).partition(": not valid YAML: ")[2] or str(error).rpartition(": ")[2]
                self.problems.append(f"config: {path}: {value!r} is not valid YAML: {reason} {self.where}")
                continue
            for key, leaf in expand_value(path, data, self.origin):
                put_leaf(layer, key, leaf)
        return layer


def _suggest_quotes(text: str) -> str:
    """What to do about a file among the ``key=value`` arguments, which the shell has put there for a star."""
    if not os.path.exists(text):  # noqa: PTH110 - never raises
        return ""
    return "; it is a file: put a pattern with a star into quotes, so that the shell leaves it whole"


def expand_value(path: str, data: Any, origin: str) -> Iterator[tuple[str, Leaf]]:
    """Expand a mapping given for a section (``ood={images: DIR}``) to its keys; other values stay as they are."""
    if isinstance(data, dict) and path in sections():
        for key, value in data.items():
            yield from expand_value(join_key(path, key), value, origin)
    else:
        yield path, Leaf(data, origin)


def put_leaf(layer: Layer, path: str, leaf: Leaf) -> None:
    """Set one value, with the short forms of sections resolved."""
    if path in sections() and isinstance(leaf.value, str) and path in SHORT:
        path = join_key(path, SHORT[path])
    if path in sections() and leaf.value is None:
        if path not in OPTIONAL:
            return  # `train:` with every line commented out
        for key in [k for k in layer if is_within(k, path)]:
            del layer[key]
    layer.pop(split_key(path)[0], None)
    layer[path] = leaf


def overlay_layer(lower: Layer, upper: Layer) -> Layer:
    """Lay `upper` over `lower`; neither is changed."""
    result = dict(lower)
    for section in OPTIONAL:
        if section in upper:
            result = {path: leaf for path, leaf in result.items() if not is_within(path, section)}
    for section in ("model", "method"):
        for path in _find_dropped_options(section, lower, upper):
            del result[path]
    for one, other in (pair for a, b in EXCLUSIVE for pair in ((a, b), (b, a))):
        if one in upper and upper[one].value is not None and other not in upper:
            result.pop(other, None)
    for path, leaf in upper.items():
        put_leaf(result, path, leaf)
    return result


def _find_dropped_options(section: str, lower: Layer, upper: Layer) -> list[str]:
    """Find the options of the lower layer's model or method that are dropped when the name changes.

    Options that the new method has too are kept (loss, conf_thresh of a recipe); those of a segmenter are not.
    """
    key = join_key(section, "name")
    declared = sections()[section].model_fields
    default = declared["name"].default
    before = lower[key].value if key in lower else default
    if key not in upper or upper[key].value == before:
        return []
    after = METHODS.get(str(upper[key].value)) if section == "method" else None
    kept = set(declared) | set(after.options if after else ())
    return [path for path in lower if is_within(path, section) and split_key(path)[1] not in kept]


def nest_layer(layer: Layer) -> dict[str, Any]:
    """Convert a layer to nested plain data."""
    result: dict[str, Any] = {}
    for path, leaf in layer.items():
        section, key = split_key(path)
        target = result
        for part in section.split(".") if section else ():
            target = target.setdefault(part, {})
        target[key] = leaf.value
    return result
