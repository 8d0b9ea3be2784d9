"""Files that hold a vocabulary: YAML (docs/reference/vocabulary.md) or a class name a line. Errors name file, line and key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from semiovs.config.source import Key, compose, keys_of, plain
from semiovs.errors import ConfigError, did_you_mean
from semiovs.vocab.colors import RGB
from semiovs.vocab.draft import Draft, Row
from semiovs.vocab.nodes import Nodes, empty
from semiovs.vocab.rules import RuleError, check_template
from semiovs.vocab.vocabulary import Vocabulary

_NUMBERED = re.compile(r"([0-9]{1,3})[\s:;,.=]\s*(\S.*)")
SUFFIXES = (".yaml", ".yml", ".txt")
#: Sets of sentences that have a name; the empty one is the teacher's own (for CLIP: the 80 of ImageNet).
TEMPLATES: Mapping[str, tuple[str, ...]] = {"imagenet": (), "photo": ("a photo of a {}",), "plain": ("{}",)}

_KEYS = ("extends", "classes", "names", "background", "templates", "colors", "ignore", "merge", "rename")


@dataclass(frozen=True)
class Text:
    """What a file says. label: how errors call it; folder: where relative paths in it start."""

    label: str
    text: str
    folder: Path

    @property
    def identity(self) -> str:
        """The same for every way to write a path."""
        return os.path.realpath(self.label)


def load(name_or_path: str | Path) -> Vocabulary:
    """The vocabulary of that name or file (see `Vocabulary.load`)."""
    found = _find(str(name_or_path), Path())
    return _draft(found, ()).finish(found.label)


def shipped_vocabularies() -> list[str]:
    """Names of the vocabularies in the package."""
    entries = (resources.files("semiovs.vocab") / "data").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def _find(name: str, folder: Path, asked: str = "") -> Text:
    path = folder / Path(name).expanduser()
    if name.endswith(SUFFIXES) or os.path.isfile(path):  # noqa: PTH113 - False where pathlib raises (too long, null bytes)
        try:
            return Text(str(path), path.read_text("utf-8-sig"), path.parent)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"vocabulary: {asked}{path}: cannot be read as a class list: {reason}") from None
    known = shipped_vocabularies()
    if name not in known:
        raise ConfigError(f"vocabulary: {asked}'{name}' is neither a file nor shipped{did_you_mean(name, known)}")
    file = resources.files("semiovs.vocab") / "data" / f"{name}.yaml"
    return Text(f"shipped {name}", file.read_text("utf-8"), Path())


def _draft(source: Text, above: tuple[str, ...]) -> Draft:
    if source.identity in above:
        raise ConfigError(f"vocabulary: {source.label}: extends itself (through {len(above)} file(s))")
    if source.label.endswith(".txt"):
        lines = {i: t.strip() for i, t in enumerate(source.text.splitlines(), 1) if t.strip()}
        draft = Draft()
        names = zip(lines, _without_numbers(list(lines.values())), strict=True)
        draft.overlay([Row(name, None, None, f"{source.label}:{i}") for i, name in names])
        return draft
    try:
        node = compose(source.text, source.label)
        if node is not None:
            plain(node, source.label)  # refuses tags, keys given twice, loops
    except ConfigError as error:
        raise ConfigError(str(error).replace("config: ", "vocabulary: ", 1)) from None
    return _Document(source, above).draft(node)


def _without_numbers(lines: list[str]) -> list[str]:
    """The names, where every line starts with its own id (``0 road``, ``0: road``); else the lines as they are."""
    found = [_NUMBERED.fullmatch(line) for line in lines]
    names = [match[2] for number, match in enumerate(found) if match is not None and int(match[1]) == number]
    return names if len(names) == len(lines) else lines


class _Document:
    """One YAML file."""

    def __init__(self, source: Text, above: tuple[str, ...]) -> None:
        self.source = source
        self.above = above
        self._nodes = Nodes(source.label)

    def draft(self, node: yaml.Node | None) -> Draft:
        if isinstance(node, yaml.SequenceNode):
            draft = Draft()
            draft.overlay(list(self._classes(node)))
            return draft
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"vocabulary: {self.source.label}: expected a list of class names under 'classes'")
        keys = {key.name: key for key in keys_of(node, self.source.label)}
        for key in keys.values():
            if key.name not in _KEYS:
                raise ConfigError(
                    f"vocabulary: {self._nodes.at(key.node)}: {key.name}: unknown key{did_you_mean(key.name, _KEYS)}"
                )
        draft = self._base(keys)
        draft.places |= {name: self._nodes.at(key.node) for name, key in keys.items()}
        own = self._own_classes(keys, draft)
        self._background(keys, draft, own)
        self._edit(keys, draft)
        if "templates" in keys:
            draft.templates = self._templates(keys["templates"].node)
        return draft

    def _base(self, keys: Mapping[str, Key]) -> Draft:
        if "extends" not in keys:
            return Draft()
        node = keys["extends"].node
        asked = f"{self._nodes.at(node)}: extends: "
        parent = _find(self._nodes.text(node, "extends"), self.source.folder, asked)
        return _draft(parent, (*self.above, self.source.identity))

    def _own_classes(self, keys: Mapping[str, Key], draft: Draft) -> list[Row]:
        if "classes" in keys and "names" in keys:
            raise self._nodes.wrong(keys["names"].node, "names", "another word for classes; give one of the two")
        key = keys.get("classes") or keys.get("names")
        rows = [] if key is None else list(self._classes(key.node))
        draft.overlay(rows)
        if not draft.rows:
            raise ConfigError(f"vocabulary: {self.source.label}: expected a list of class names under 'classes'")
        return rows

    def _classes(self, node: yaml.Node) -> Iterator[Row]:
        if isinstance(node, yaml.SequenceNode):
            yield from (self._row(item) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            keys = list(keys_of(node, self.source.label))
            numbered = [key.tag.endswith(":int") for key, _ in node.value]
            if keys and all(numbered):
                yield from self._numbered(keys)
            else:
                yield from (self._named(key) for key in keys)
        else:
            raise self._nodes.wrong(node, "classes", "expected a list of class names, or a mapping 'name: concepts'")

    def _numbered(self, keys: list[Key]) -> Iterator[Row]:
        ordered = sorted(keys, key=lambda key: int(key.name))
        for index, key in enumerate(ordered):
            if int(key.name) != index:
                raise self._nodes.wrong(
                    key.node, "classes", f"id {key.name} where {index} follows; ids go from 0 without gaps"
                )
            yield self._row(key.node)

    def _row(self, node: yaml.Node) -> Row:
        """An entry of a list: a name, or a mapping with a name."""
        if not isinstance(node, yaml.MappingNode):
            return Row(self._nodes.text(node, "classes"), None, None, self._nodes.at(node))
        name = next((k.node for k in keys_of(node, self.source.label) if k.name == "name"), None)
        if name is None:
            raise self._nodes.wrong(
                node, "classes", "an entry without 'name:'; with concepts write {name: car, concepts: [car, van]}"
            )
        return self._details(self._nodes.text(name, "classes.name"), node, ("name", "concepts", "color"))

    def _named(self, key: Key) -> Row:
        """An entry of a mapping: the name, and its concepts or a mapping of details."""
        name, node = key.name.strip(), key.node
        if isinstance(node, yaml.MappingNode):
            return self._details(name, node, ("concepts", "color"))
        concepts = None if empty(node) else self._nodes.texts(node, f"classes.{name}")
        return Row(name, concepts, None, self._nodes.at(node))

    def _details(self, name: str, node: yaml.MappingNode, known: tuple[str, ...]) -> Row:
        concepts, color = None, None
        for key in keys_of(node, self.source.label):
            path = f"classes.{name}.{key.name}"
            if key.name not in known:
                raise self._nodes.wrong(key.node, path, f"unknown key{did_you_mean(key.name, known)}")
            if key.name == "concepts" and not empty(key.node):
                concepts = self._nodes.texts(key.node, path)
            elif key.name == "color" and not empty(key.node):
                color = self._nodes.color(key.node, path)
        return Row(name, concepts, color, self._nodes.at(node))

    def _background(self, keys: Mapping[str, Key], draft: Draft, own: list[Row]) -> None:
        if "background" not in keys:
            return None
        node = keys["background"].node
        if empty(node) or (isinstance(node, yaml.ScalarNode) and node.value == "none"):
            return draft.name_background(None)
        if not isinstance(node, yaml.MappingNode):
            raise self._nodes.wrong(node, "background", "expected concepts: [...], threshold: 0.4 or none")
        parts = {key.name: key.node for key in keys_of(node, self.source.label)}
        for name in parts:
            if name not in ("concepts", "threshold"):
                raise self._nodes.wrong(
                    node, f"background.{name}", f"unknown key{did_you_mean(name, ('concepts', 'threshold'))}"
                )
        if len(parts) != 1:
            raise self._nodes.wrong(node, "background", "give either concepts or threshold")
        given = any(row.name == draft.rows[0].name and row.concepts for row in own)
        if "threshold" in parts:
            draft.hold_background(self._nodes.number(parts["threshold"], "background.threshold"), own=given)
        elif given:
            raise self._nodes.wrong(
                node, "background.concepts", f"class '{draft.rows[0].name}' has concepts already; give one of the two"
            )
        else:
            draft.name_background(self._nodes.texts(parts["concepts"], "background.concepts"))
        return None

    def _edit(self, keys: Mapping[str, Key], draft: Draft) -> None:
        """Ignore, merge, rename, colours: in this order, whatever the order in the file."""
        if "ignore" in keys:
            draft.drop(self._nodes.texts(keys["ignore"].node, "ignore"))
        if "merge" in keys:
            for key in self._nodes.keys(keys["merge"].node, "merge"):
                draft.merge(
                    key.name.strip(), self._nodes.texts(key.node, f"merge.{key.name}"), self._nodes.at(key.node)
                )
        if "rename" in keys:
            node = keys["rename"].node
            names = {
                key.name: self._nodes.text(key.node, f"rename.{key.name}") for key in self._nodes.keys(node, "rename")
            }
            draft.rename(names, self._nodes.at(node))
        if "colors" in keys:
            node = keys["colors"].node
            draft.paint(self._colors(node, draft), self._nodes.at(node))

    def _colors(self, node: yaml.Node, draft: Draft) -> dict[str, RGB]:
        if isinstance(node, yaml.MappingNode):
            return {
                key.name: self._nodes.color(key.node, f"colors.{key.name}") for key in keys_of(node, self.source.label)
            }
        if not isinstance(node, yaml.SequenceNode) or len(node.value) != len(draft.rows):
            count = f", got {len(node.value)}" if isinstance(node, yaml.SequenceNode) else ""
            raise self._nodes.wrong(node, "colors", f"expected one for each of the {len(draft.rows)} classes{count}")
        pairs = zip(draft.rows, node.value, strict=True)
        return {row.name: self._nodes.color(item, f"colors.{row.name}") for row, item in pairs}

    def _templates(self, node: yaml.Node) -> tuple[str, ...]:
        if isinstance(node, yaml.ScalarNode) and not empty(node) and "{" not in node.value:
            if node.value not in TEMPLATES:
                hint = did_you_mean(node.value, TEMPLATES)
                raise self._nodes.wrong(
                    node, "templates", f"'{node.value}' is neither a sentence with {{}} nor a known set{hint}"
                )
            return TEMPLATES[node.value]
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for item in items:
            try:
                check_template(self._nodes.text(item, "templates"))
            except RuleError as error:
                raise self._nodes.wrong(item, "templates", error.reason) from None
        return self._nodes.texts(node, "templates")
