"""Layers of a configuration: flat tables of dotted key -> value with its origin, and how one is laid over another."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from semiovs.config.catalog import Source, find
from semiovs.config.schema import Config
from semiovs.config.source import compose, keys_of, plain
from semiovs.errors import ConfigError
from semiovs.registry import METHODS

COMMAND_LINE = "command line"
DEFAULT = "default"
MEASURED = "measured on the training images"

#: A section that may be given as one word: ``method=unimatch`` is ``method.name=unimatch``.
SHORT = {"method": "name", "model": "name", "ood": "images"}
#: Sections that may be absent.
OPTIONAL = frozenset({"ood"})
#: Two ways to say one thing: a layer that gives one takes the other away from the layers below.
EXCLUSIVE = (("train.epochs", "train.steps"),)


@dataclass(frozen=True)
class Leaf:
    """A value, where it was said, and the directory of the file that said it (None: preset, default, command line)."""

    value: Any
    origin: str = DEFAULT
    folder: Path | None = None


Layer = dict[str, Leaf]


@cache
def sections() -> Mapping[str, type[BaseModel]]:
    """Dotted path of every section of the schema -> its class; the whole is called ''."""
    return types.MappingProxyType(dict(_walk("", Config)))


def _walk(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for part in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _walk(join(path, name), part)


def join(section: str, key: str) -> str:
    """Dotted path of `key` in `section`."""
    return f"{section}.{key}" if section else key


def split(path: str) -> tuple[str, str]:
    """Dotted path -> (the deepest section that holds it, the rest)."""
    section = path
    while section:
        section = section.rpartition(".")[0]
        if section in sections():
            return section, path.removeprefix(f"{section}.") if section else path
    return "", path


def within(path: str, section: str) -> bool:
    """Whether `path` is a key of `section`, at any depth."""
    return path.startswith(f"{section}.")


class Reader:
    """Reads sources into layers; problems that do not stop the reading are gathered in `problems`."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.problems: list[str] = []

    def chain(self, source: Source, above: tuple[str, ...] = ()) -> Layer:
        """The layer of `source`, laid over those that it extends."""
        node = compose(source.text, source.label)
        if node is None or (isinstance(node, yaml.ScalarNode) and plain(node, source.label) is None):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"config: {source.label}: expected sections like 'data:' and 'train:', got one value")
        identity = f"{source.folder}/{source.label}"
        if identity in above:
            raise ConfigError(f"config: extends: {source.label} extends itself (through {len(above)} file(s))")
        result: Layer = {}
        for name, where in self._extends(node, source):
            folder = source.folder or self.cwd
            parent = find(name, folder=folder, cwd=self.cwd, where=f" (extends) in {where}")
            result = overlay(result, self.chain(parent, (*above, identity)))
        layer: Layer = {}
        self._mapping(node, "", source, layer)
        return overlay(result, layer)

    def _extends(self, node: yaml.MappingNode, source: Source) -> Iterator[tuple[str, str]]:
        for key in keys_of(node, source.label):
            if key.name == "extends":
                value = plain(key.node, source.label)
                names = value if isinstance(value, list) else [] if value is None else [value]
                for name in names:
                    if not isinstance(name, str):
                        raise ConfigError(
                            f"config: extends: expected a preset or file, got {name!r} in {source.origin(key.line)}"
                        )
                    yield name, source.origin(key.line)

    def _mapping(self, node: yaml.MappingNode, section: str, source: Source, layer: Layer) -> None:
        seen: set[str] = set()
        for key in keys_of(node, source.label):
            path = join(section, key.name)
            origin = source.origin(key.line)
            if key.name in seen or path in layer:
                self.problems.append(f"config: {path}: given twice in {origin}")
                continue
            seen.add(key.name)
            if path == "extends":
                continue
            if isinstance(key.node, yaml.MappingNode) and path in sections():
                self._mapping(key.node, path, source, layer)
            else:
                put(layer, path, Leaf(plain(key.node, source.label), origin, source.folder))

    def extends_of(self, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
        """``key=value`` arguments -> what is named by ``extends=``, and the others."""
        names: list[str] = []
        others: list[str] = []
        for text in overrides:
            path, equals, value = text.partition("=")
            if path.strip() != "extends" or not equals:
                others.append(text)
                continue
            node = compose(value, f"on the {COMMAND_LINE}")
            found = None if node is None else plain(node, f"on the {COMMAND_LINE}")
            listed: list[Any] = found if isinstance(found, list) else [found]
            if not all(isinstance(name, str) for name in listed):
                self.problems.append(f"config: extends: expected a preset or file, got {value!r} on the {COMMAND_LINE}")
                continue
            names.extend(listed)
        return names, others

    def command_line(self, overrides: Sequence[str]) -> Layer:
        """The layer of ``key=value`` arguments; of two for one key the later counts."""
        layer: Layer = {}
        for text in overrides:
            path, equals, value = text.partition("=")
            path = path.strip()
            if not equals or not path:
                self.problems.append(f"config: '{text}': expected key=value on the command line")
                continue
            try:
                node = compose(value, "on the command line")
                data = None if node is None else plain(node, "on the command line")
            except ConfigError as error:
                reason = str(error).partition(": not valid YAML: ")[2] or str(error).rpartition(": ")[2]
                self.problems.append(f"config: {path}: {value!r} is not valid YAML: {reason} on the command line")
                continue
            for key, leaf in expand(path, data):
                put(layer, key, leaf)
        return layer


def expand(path: str, data: Any) -> Iterator[tuple[str, Leaf]]:
    """``ood={images: DIR}`` -> ``ood.images``; other values stay whole."""
    if isinstance(data, dict) and path in sections():
        for key, value in data.items():
            yield from expand(join(path, key), value)
    else:
        yield path, Leaf(data, COMMAND_LINE)


def put(layer: Layer, path: str, leaf: Leaf) -> None:
    """Set one value, with the short forms of sections resolved."""
    if path in sections() and isinstance(leaf.value, str) and path in SHORT:
        path = join(path, SHORT[path])
    if path in sections() and leaf.value is None:
        if path not in OPTIONAL:
            return  # `train:` with every line commented out
        for key in [k for k in layer if within(k, path)]:
            del layer[key]
    layer.pop(split(path)[0], None)
    layer[path] = leaf


def overlay(lower: Layer, upper: Layer) -> Layer:
    """Lay `upper` over `lower`; neither is changed."""
    result = dict(lower)
    for section in OPTIONAL:
        if section in upper:
            result = {path: leaf for path, leaf in result.items() if not within(path, section)}
    for section in ("model", "method"):
        for path in _left_behind(section, lower, upper):
            del result[path]
    for one, other in (pair for a, b in EXCLUSIVE for pair in ((a, b), (b, a))):
        if one in upper and upper[one].value is not None and other not in upper:
            result.pop(other, None)
    for path, leaf in upper.items():
        put(result, path, leaf)
    return result


def _left_behind(section: str, lower: Layer, upper: Layer) -> list[str]:
    """Options of the lower layer's model or method that do not outlive a change of its name.

    A method keeps those that the new one has too (loss, conf_thresh of a recipe); a segmenter starts afresh.
    """
    key = join(section, "name")
    declared = sections()[section].model_fields
    default = declared["name"].default
    before = lower[key].value if key in lower else default
    if key not in upper or upper[key].value == before:
        return []
    after = METHODS.get(str(upper[key].value)) if section == "method" else None
    kept = set(declared) | set(after.options if after else ())
    return [path for path in lower if within(path, section) and split(path)[1] not in kept]


def nested(layer: Layer) -> dict[str, Any]:
    """The layer as nested plain data."""
    result: dict[str, Any] = {}
    for path, leaf in layer.items():
        section, key = split(path)
        target = result
        for part in section.split(".") if section else ():
            target = target.setdefault(part, {})
        target[key] = leaf.value
    return result
