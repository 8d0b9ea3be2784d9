"""Read vocabulary files: YAML (docs/reference/vocabulary.md) or lists as text; errors name file, line and key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

from semiovs.config.error_messages import explain_error, join_problems
from semiovs.config.sources import ConfigSource
from semiovs.config.yaml_reader import locate_value, parse_yaml, to_plain
from semiovs.errors import ConfigError, did_you_mean
from semiovs.vocab.builder import VocabularyBuilder
from semiovs.vocab.class_list import SUFFIXES as TEXT_SUFFIXES
from semiovs.vocab.class_list import ClassListError, looks_like_yaml, parse_class_list
from semiovs.vocab.rules import RuleError
from semiovs.vocab.schema import ClassEntry, VocabularyFile, list_known_keys

SUFFIXES = (".yaml", ".yml", *TEXT_SUFFIXES)
#: Keys of YOLO's ``data.yaml`` beside ``names``, which do not concern the classes.
_YOLO = frozenset({"path", "train", "val", "test", "nc", "download", "roboflow", "yaml_file", "task"})

#: Problems of a file that are looked up in it; few of them are shown.
_LOCATED = 100


@dataclass(frozen=True)
class VocabularyDocument:
    """A YAML file that matches the schema. root: its values with their lines."""

    source: ConfigSource
    root: yaml.Node
    file: VocabularyFile

    def locate(self, *path: int | str) -> str:
        """File and line of a value."""
        return _locate_line(self.source, locate_value(self.root, path)[0])


def read_vocabulary(name_or_path: str | Path) -> VocabularyBuilder:
    """Read a shipped vocabulary or a file, with everything it extends.

    Raises:
        ConfigError: see `Vocabulary.load`.
    """
    return _build_vocabulary(_find_source(str(name_or_path), Path()), ())


def shipped_vocabularies() -> list[str]:
    """Names of the vocabularies in the package."""
    entries = (resources.files("semiovs.vocab") / "data").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def _find_source(name: str, folder: Path, asked: str = "") -> ConfigSource:
    path = folder / Path(name).expanduser()
    if name.endswith(SUFFIXES) or os.path.isfile(path):  # noqa: PTH113 - False where pathlib raises (too long, null bytes)
        try:
            return ConfigSource(str(path), path.stem, path.read_text("utf-8-sig"), path.parent)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"vocabulary: {asked}{path}: cannot be read as a class list: {reason}") from None
    known = shipped_vocabularies()
    if name not in known:
        raise ConfigError(f"vocabulary: {asked}'{name}' is neither a file nor shipped{did_you_mean(name, known)}")
    file = resources.files("semiovs.vocab") / "data" / f"{name}.yaml"
    return ConfigSource(f"shipped {name}", name, file.read_text("utf-8"), Path())


def _build_vocabulary(source: ConfigSource, above: tuple[str, ...]) -> VocabularyBuilder:
    identity = os.path.realpath(source.label)  # the same for every way to write a path
    if identity in above:
        raise ConfigError(f"vocabulary: {source.label}: extends itself (through {len(above)} file(s))")
    document = None if _is_text(source) else _parse_yaml(source)
    builder = VocabularyBuilder(source.label)
    if document is not None and document.file.extends is not None:
        asked = f"{document.locate('extends')}: extends: "
        builder = _build_vocabulary(
            _find_source(document.file.extends, source.folder or Path(), asked), (*above, identity)
        )
        builder.label = source.label
    try:
        if document is None:
            _add_listed(source, builder)
        else:
            _apply_document(document, builder)
    except RuleError as error:
        raise builder.locate_error(error) from None
    return builder


def _add_listed(source: ConfigSource, builder: VocabularyBuilder) -> None:
    """Add the classes of a text file."""
    try:
        listed = parse_class_list(source.text)
    except ClassListError as error:
        raise ConfigError(f"vocabulary: {source.format_origin(error.line)}: {error.reason}") from None
    builder.overlay(
        [ClassEntry(name=item.name) for item in listed], [source.format_origin(item.line) for item in listed]
    )
    builder.paint({item.name: item.color for item in listed if item.color is not None})


def _is_text(source: ConfigSource) -> bool:
    return source.label.lower().endswith(TEXT_SUFFIXES) and not looks_like_yaml(source.text)


def _parse_yaml(source: ConfigSource) -> VocabularyDocument:
    """Read YAML and validate it; one error lists all problems, a line each."""
    try:
        root = parse_yaml(source.text, source.label)
        if root is not None:
            to_plain(root, source.label)  # refuses tags, keys given twice, loops
            _sort_by_id(root, source)
        data = None if root is None else to_plain(root, source.label, words=True)
    except ConfigError as error:
        raise ConfigError(str(error).replace("config: ", "vocabulary: ", 1)) from None
    if isinstance(data, list):
        data = {"classes": data}
    if isinstance(data, dict) and "names" in data:
        data = {key: value for key, value in data.items() if key not in _YOLO}
    if root is None or not isinstance(data, dict):
        raise _no_classes_error(source)
    try:
        return VocabularyDocument(source, root, VocabularyFile.model_validate(data))
    except ValidationError as error:
        raise join_problems(_explain_problems(error, root, source), "vocabulary") from None


def _sort_by_id(root: yaml.Node, source: ConfigSource) -> None:
    """Turn classes given by id (``{0: road, 1: car}``) into a list, in place."""
    for number, (key, node) in enumerate(root.value if isinstance(root, yaml.MappingNode) else ()):
        given = node.value if key.value in ("classes", "names") and isinstance(node, yaml.MappingNode) else []
        if not given or not all(name.tag.endswith(":int") for name, _ in given):
            continue
        ordered = sorted(given, key=lambda pair: int(pair[0].value))
        for index, (name, value) in enumerate(ordered):
            if int(name.value) != index:
                what = f"id {name.value} where {index} follows; ids go from 0 without gaps"
                raise ConfigError(f"vocabulary: {_locate_line(source, value)}: classes: {what}")
        listed = yaml.SequenceNode("tag:yaml.org,2002:seq", [value for _, value in ordered], node.start_mark)
        root.value[number] = (key, listed)


def _explain_problems(error: ValidationError, root: yaml.Node, source: ConfigSource) -> Iterator[str]:
    for number, details in enumerate(error.errors(include_url=False)):
        path = details["loc"]
        if number >= _LOCATED:  # another file; these are counted, not shown
            yield f"vocabulary: {source.label}: {path}: {details['type']}"
            continue
        node, key = locate_value(root, path)
        what = explain_error(details)
        if details["type"] == "extra_forbidden":
            what = f"unknown key{did_you_mean(str(path[-1]), list_known_keys(path))}"
        elif details["type"] == "missing":
            what = "an entry without 'name:'; with concepts write {name: car, concepts: [car, van]}"
        yield f"vocabulary: {_locate_line(source, node)}: {key}{': ' if key else ''}{what}"


def _locate_line(source: ConfigSource, node: yaml.Node) -> str:
    return source.format_origin(node.start_mark.line + 1)


def _no_classes_error(source: ConfigSource) -> ConfigError:
    return ConfigError(f"vocabulary: {source.label}: expected a list of class names under 'classes'")


def _apply_document(document: VocabularyDocument, builder: VocabularyBuilder) -> None:
    """Apply a file to what it extends, in the order of the calls below, whatever the order in the file."""
    file = document.file
    key, entries = ("names", file.names) if file.names else ("classes", file.classes)
    builder.keys |= {name: document.locate(name) for name in file.model_fields_set}
    builder.overlay(entries, [document.locate(key, index) for index in range(len(entries))])
    if not builder.concepts:
        raise _no_classes_error(document.source)
    if file.background is not None:
        builder.set_background(file.background, entries)
    builder.drop(file.ignore)
    for new, parts in file.merge.items():
        builder.merge(new, parts, document.locate("merge", new))
    builder.rename(file.rename)
    builder.paint(file.colors)
    if "templates" in file.model_fields_set:
        builder.templates = file.templates
