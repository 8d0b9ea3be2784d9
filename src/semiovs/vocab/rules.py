"""What every vocabulary obeys, wherever it comes from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semiovs.errors import ConfigError

if TYPE_CHECKING:
    from semiovs.vocab.vocabulary import Vocabulary

#: 255 is the ignore value of masks.
MOST_CLASSES = 255


class RuleError(ConfigError):
    """A broken rule. reason: the message without its start; owner: id of the class at fault, if it is one; key: else its key."""

    def __init__(self, reason: str, *, owner: int | None = None, key: str = "classes") -> None:
        super().__init__(f"vocabulary: {reason}")
        self.reason, self.owner, self.key = reason, owner, key


def synonyms(concept: str) -> list[str]:
    """The synonyms of a concept, whose text embeddings are averaged: split at comma and blank, and only there."""
    return concept.split(", ")


def meaning(concept: str) -> tuple[str, ...]:
    """Two concepts of the same meaning get the same map: case, blanks and the order of synonyms do not count."""
    return tuple(sorted({" ".join(synonym.casefold().split()) for synonym in synonyms(concept)}))


def check(vocabulary: Vocabulary) -> None:
    """Refuse what cannot work.

    Raises:
        RuleError: the first rule that is broken.
    """
    _check_names(vocabulary)
    _check_concepts(vocabulary)
    _check_background(vocabulary)
    _check_colors(vocabulary)
    for template in vocabulary.templates:
        check_template(template)


def _check_names(vocabulary: Vocabulary) -> None:
    names = vocabulary.names
    if not names:
        raise RuleError("no classes; list their names in the order of their ids")
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name.strip():
            raise RuleError(f"class {index} has an empty name", owner=index)
        if name in seen:
            raise RuleError(f"class '{name}' is listed twice", owner=index)
        if name in vocabulary.ignore:
            raise RuleError(f"class '{name}' is also a name to ignore", owner=index)
        seen.add(name)
    if len(names) > MOST_CLASSES:
        raise RuleError(
            f"{len(names)} classes; at most {MOST_CLASSES} are possible (255 is the ignore value)", owner=MOST_CLASSES
        )


def _check_concepts(vocabulary: Vocabulary) -> None:
    names, constant = vocabulary.names, vocabulary.background is not None
    if len(vocabulary.concepts) != len(names):
        raise RuleError(f"{len(names)} names but concepts for {len(vocabulary.concepts)}")
    found: dict[tuple[str, ...], int] = {}
    for index, concepts in enumerate(vocabulary.concepts):
        if constant and index == 0 and concepts:
            raise RuleError(
                f"class '{names[0]}' has concepts and a background threshold; its score is either asked for or constant",
                owner=0,
            )
        if not concepts and not (constant and index == 0):
            raise RuleError(f"class '{names[index]}' has no concepts; give one, or leave them out", owner=index)
        for concept in concepts:
            if not all(synonym.strip() for synonym in synonyms(concept)):
                raise RuleError(f"class '{names[index]}': concept '{concept}' has an empty synonym", owner=index)
            other = found.setdefault(meaning(concept), index)
            if other != index:
                raise RuleError(
                    f"class '{names[index]}': concept '{concept}' belongs to class '{names[other]}' already; "
                    "both would get the same map and the second could never win",
                    owner=index,
                )
        if len({meaning(concept) for concept in concepts}) < len(concepts):
            raise RuleError(f"class '{names[index]}' lists a concept twice", owner=index)


def _check_background(vocabulary: Vocabulary) -> None:
    constant = vocabulary.background
    if constant is None:
        return
    if not (math.isfinite(constant) and 0 <= constant <= 1):
        raise RuleError(f"threshold {constant} is not a score; expected 0 to 1, like 0.4", key="background")
    if len(vocabulary.names) == 1:
        raise RuleError("nothing but the background; add the classes to look for", key="background")


def _check_colors(vocabulary: Vocabulary) -> None:
    colors = vocabulary.colors
    if colors and len(colors) != len(vocabulary.names):
        raise RuleError(f"{len(vocabulary.names)} names but {len(colors)} colours", key="colors")
    for index, color in enumerate(colors):
        if not all(0 <= part <= 255 for part in color):
            raise RuleError(
                f"class '{vocabulary.names[index]}': colour {list(color)} is out of range; expected [red, green, blue], 0 to 255",
                owner=index,
            )


def check_template(template: str) -> None:
    """Refuse a sentence that a concept cannot be put into.

    Raises:
        RuleError: no ``{}``, or other braces.
    """
    rest = template.replace("{}", "")
    if "{}" not in template or "{" in rest or "}" in rest:
        raise RuleError(
            f"template '{template}': expected a sentence with {{}} where the concept stands", key="templates"
        )
