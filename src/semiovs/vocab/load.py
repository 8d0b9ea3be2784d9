"""Files that hold a vocabulary: YAML (docs/reference/vocabulary.md) or a class name a line. Errors name file, line and key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

from semiovs.config.problems import explain, fail
from semiovs.config.source import compose, locate, plain
from semiovs.errors import ConfigError, did_you_mean
from semiovs.vocab.builder import ClassRow, VocabularyBuilder
from semiovs.vocab.schema import VocabularyFile, keys_at

_NUMBERED = re.compile(r"([0-9]{1,3})[\s:;,.=]\s*(\S.*)")
SUFFIXES = (".yaml", ".yml", ".txt")


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


@dataclass(frozen=True)
class Document:
    """A YAML file that holds to the schema. root: its values with their lines."""

    source: Text
    root: yaml.Node
    file: VocabularyFile

    def place(self, *path: int | str) -> str:
        """File and line of a value."""
        return _place(self.source, locate(self.root, path)[0])


def read_vocabulary(name_or_path: str | Path) -> VocabularyBuilder:
    """What the shipped vocabulary or file says, with everything it extends.

    Raises:
        ConfigError: see `Vocabulary.load`.
    """
    return _build(_find(str(name_or_path), Path()), ())


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


def _build(source: Text, above: tuple[str, ...]) -> VocabularyBuilder:
    if source.identity in above:
        raise ConfigError(f"vocabulary: {source.label}: extends itself (through {len(above)} file(s))")
    if source.label.endswith(".txt"):
        builder = VocabularyBuilder(source.label)
        builder.overlay([ClassRow(name, None, None, f"{source.label}:{i}") for i, name in _names(source.text)])
        return builder
    document = _parse(source)
    if document.file.extends is None:
        builder = VocabularyBuilder(source.label)
    else:
        parent = _find(document.file.extends, source.folder, f"{document.place('extends')}: extends: ")
        builder = _build(parent, (*above, source.identity))
        builder.label = source.label
    _apply(document, builder)
    return builder


def _names(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each class; the ids are cut off where every line starts with its own (``0 road``, ``0: road``)."""
    lines = {i: line.strip() for i, line in enumerate(text.splitlines(), 1) if line.strip()}
    found = [_NUMBERED.fullmatch(line) for line in lines.values()]
    names = [match[2] for number, match in enumerate(found) if match is not None and int(match[1]) == number]
    return zip(lines, names if len(names) == len(lines) else lines.values(), strict=True)


def _parse(source: Text) -> Document:
    """Read YAML and hold it against the schema; all that is wrong is in one error, a line each."""
    try:
        root = compose(source.text, source.label)
        if root is not None:
            plain(root, source.label)  # refuses tags, keys given twice, loops
            _list_by_id(root, source)
        data = None if root is None else plain(root, source.label, words=True)
    except ConfigError as error:
        raise ConfigError(str(error).replace("config: ", "vocabulary: ", 1)) from None
    if isinstance(data, list):
        data = {"classes": data}
    if root is None or not isinstance(data, dict):
        raise _without_classes(source)
    try:
        return Document(source, root, VocabularyFile.model_validate(data))
    except ValidationError as error:
        fail(_problems(error, root, source), "vocabulary")
        raise AssertionError from None


def _list_by_id(root: yaml.Node, source: Text) -> None:
    """Turn classes that are given as ``{0: road, 1: car}`` into a list in place."""
    for number, (key, node) in enumerate(root.value if isinstance(root, yaml.MappingNode) else ()):
        given = node.value if key.value in ("classes", "names") and isinstance(node, yaml.MappingNode) else []
        if not given or not all(name.tag.endswith(":int") for name, _ in given):
            continue
        ordered = sorted(given, key=lambda pair: int(pair[0].value))
        for index, (name, value) in enumerate(ordered):
            if int(name.value) != index:
                what = f"id {name.value} where {index} follows; ids go from 0 without gaps"
                raise ConfigError(f"vocabulary: {_place(source, value)}: classes: {what}")
        listed = yaml.SequenceNode("tag:yaml.org,2002:seq", [value for _, value in ordered], node.start_mark)
        root.value[number] = (key, listed)


def _problems(error: ValidationError, root: yaml.Node, source: Text) -> Iterator[str]:
    for details in error.errors(include_url=False):
        path = details["loc"]
        node, key = locate(root, path)
        what = explain(details)
        if details["type"] == "extra_forbidden":
            what = f"unknown key{did_you_mean(str(path[-1]), keys_at(path))}"
        elif details["type"] == "missing":
            what = "an entry without 'name:'; with concepts write {name: car, concepts: [car, van]}"
        yield f"vocabulary: {_place(source, node)}: {key}{': ' if key else ''}{what}"


def _place(source: Text, node: yaml.Node) -> str:
    return f"{source.label}:{node.start_mark.line + 1}"


def _without_classes(source: Text) -> ConfigError:
    return ConfigError(f"vocabulary: {source.label}: expected a list of class names under 'classes'")


def _apply(document: Document, builder: VocabularyBuilder) -> None:
    """Lay a file over what it extends: classes, then background, ignore, merge, rename, colours, whatever their order in it."""
    file, place = document.file, document.place
    key, entries = ("names", file.names) if file.names else ("classes", file.classes)
    own = [ClassRow(e.name, e.concepts, e.color, place(key, i)) for i, e in enumerate(entries)]
    builder.overlay(own)
    if not builder.rows:
        raise _without_classes(document.source)
    builder.places |= {key: place(key) for key in file.model_fields_set}
    if file.background is not None:
        _set_background(document, builder, own)
    builder.drop(file.ignore)
    for new, parts in file.merge.items():
        builder.merge(new, parts, place("merge", new))
    builder.rename(file.rename, place("rename"))
    builder.paint(file.colors, place("colors"))
    if "templates" in file.model_fields_set:
        builder.templates = file.templates


def _set_background(document: Document, builder: VocabularyBuilder, own: list[ClassRow]) -> None:
    background = document.file.background
    assert background is not None
    name = builder.rows[0].name
    given = any(row.name == name and row.concepts for row in own)
    if background.threshold is not None:
        builder.hold_background(background.threshold, own=given)
    elif given and background.concepts is not None:
        where = document.place("background", "concepts")
        what = f"class '{name}' has concepts already; give one of the two"
        raise ConfigError(f"vocabulary: {where}: background.concepts: {what}")
    else:
        builder.name_background(background.concepts)
