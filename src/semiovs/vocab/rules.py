"""What every vocabulary obeys, wherever it comes from."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from semiovs.errors import ConfigError
from semiovs.vocab.colors import RGB

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


def check_classes(
    names: Sequence[str], concepts: Sequence[Sequence[str]], ignore: Collection[str], *, constant: bool
) -> None:
    """Refuse names and concepts that cannot work. constant: whether class 0 has a constant score, and so no concepts.

    Raises:
        RuleError: the first rule that is broken.
    """
    _check_names(names, ignore)
    if len(concepts) != len(names):
        raise RuleError(f"{len(names)} names but concepts for {len(concepts)}")
    if constant and concepts[0]:
        raise RuleError(
            f"class '{names[0]}' has concepts and a background threshold; its score is either asked for or constant",
            owner=0,
        )
    found: dict[tuple[str, ...], int] = {}
    for index in range(1 if constant else 0, len(names)):
        _check_concepts(names, concepts[index], index, found)


def _check_names(names: Sequence[str], ignore: Collection[str]) -> None:
    if not names:
        raise RuleError("no classes; list their names in the order of their ids")
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name.strip():
            raise RuleError(f"class {index} has an empty name", owner=index)
        if name in seen:
            raise RuleError(f"class '{name}' is listed twice", owner=index)
        if name in ignore:
            raise RuleError(f"class '{name}' is also a name to ignore", owner=index)
        seen.add(name)
    if len(names) > MOST_CLASSES:
        raise RuleError(
            f"{len(names)} classes; at most {MOST_CLASSES} are possible (255 is the ignore value)", owner=MOST_CLASSES
        )


def _check_concepts(
    names: Sequence[str], concepts: Sequence[str], index: int, found: dict[tuple[str, ...], int]
) -> None:
    """The concepts of one class. found: meaning of each concept so far -> its class, which is added to."""
    if not concepts:
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


def check_threshold(names: Sequence[str], threshold: float) -> None:
    """Refuse a constant score of class 0 that cannot work.

    Raises:
        RuleError: it is not in [0, 1], or there is no other class.
    """
    if not 0 <= threshold <= 1:
        raise RuleError(f"threshold {threshold} is not a score; expected 0 to 1, like 0.4", key="background")
    if len(names) == 1:
        raise RuleError("nothing but the background; add the classes to look for", key="background")


def check_colors(names: Sequence[str], colors: Sequence[RGB]) -> None:
    """Refuse colours that are not one RGB triple for each class, or none at all.

    Raises:
        RuleError: another number of them, or one that is out of range.
    """
    if colors and len(colors) != len(names):
        raise RuleError(f"{len(names)} names but {len(colors)} colours", key="colors")
    for index, color in enumerate(colors):
        if not all(0 <= part <= 255 for part in color):
            raise RuleError(
                f"class '{names[index]}': colour {list(color)} is out of range; expected [red, green, blue], 0 to 255",
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
