"""Writes a vocabulary as YAML that reads back to the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semiovs.config.source import inline
from semiovs.vocab.colors import hex_of
from semiovs.vocab.vocabulary import Vocabulary


def to_yaml(vocabulary: Vocabulary) -> str:
    """The text, a class a line."""
    return "\n".join(_lines(vocabulary)) + "\n"


def _lines(vocabulary: Vocabulary) -> Iterator[str]:
    yield "classes:"
    for index, (name, concepts) in enumerate(zip(vocabulary.names, vocabulary.concepts, strict=True)):
        row: dict[str, Any] = {"name": name}
        if concepts and concepts != (name,):
            row["concepts"] = list(concepts)
        if vocabulary.colors:
            row["color"] = hex_of(vocabulary.colors[index])
        yield f"  - {inline(row if len(row) > 1 else name)}"
    if vocabulary.background is not None:
        yield f"background: {inline({'threshold': vocabulary.background})}"
    if vocabulary.templates:
        yield f"templates: {inline(list(vocabulary.templates))}"
    if vocabulary.ignore:
        yield f"ignore: {inline(list(vocabulary.ignore))}"
