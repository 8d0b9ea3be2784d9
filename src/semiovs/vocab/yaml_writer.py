"""Write a vocabulary as YAML, which reads back to the same vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semiovs.config.yaml_reader import format_inline
from semiovs.vocab.colors import format_hex
from semiovs.vocab.vocabulary import Vocabulary


def to_yaml(vocabulary: Vocabulary) -> str:
    """Format a vocabulary as YAML, one class per line."""
    return "\n".join(_format_lines(vocabulary)) + "\n"


def _format_lines(vocabulary: Vocabulary) -> Iterator[str]:
    yield "classes:"
    for index, (name, concepts) in enumerate(zip(vocabulary.names, vocabulary.concepts, strict=True)):
        row: dict[str, Any] = {"name": name}
        if concepts and concepts != (name,):
            row["concepts"] = list(concepts)
        if vocabulary.colors:
            row["color"] = format_hex(vocabulary.colors[index])
        yield f"  - {format_inline(row if len(row) > 1 else name)}"
    if vocabulary.background is not None:
        yield f"background: {format_inline({'threshold': vocabulary.background})}"
    if vocabulary.templates:
        yield f"templates: {format_inline(list(vocabulary.templates))}"
    if vocabulary.ignore:
        yield f"ignore: {format_inline(list(vocabulary.ignore))}"
