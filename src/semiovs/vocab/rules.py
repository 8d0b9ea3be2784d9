"""Rules that every vocabulary must obey, whether from a file or from Python."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from semiovs.errors import ConfigError
from semiovs.vocab.colors import RGB

#: 255 is the ignore value of masks.
MOST_CLASSES = 255
#: Most characters of a class name.
LONGEST_NAME = 300
#: What stands where a name is not known yet: a number, or a number after a word that means "class".
_PLACEHOLDER = re.compile(r"((class|category|label|cls|cat|lbl|id|value|unnamed)[\s_.:#-]*)?\d+", re.IGNORECASE)
#: Names of a class 0 that pictures show nothing of.
_BACKGROUND = frozenset({"background", "bg", "other", "void", "unlabeled", "unlabelled"})
#: Placeholders that an error names.
_NAMED = 3


class RuleError(ConfigError):
    """A broken rule. reason: the message without prefix; owner: id of the class concerned, or None; key: the key
    concerned.
    """

    def __init__(self, reason: str, *, owner: int | None = None, key: str = "classes") -> None:
        super().__init__(f"vocabulary: {reason}")
        self.reason, self.owner, self.key = reason, owner, key


def split_synonyms(concept: str) -> list[str]:
    """Split a concept into its synonyms, whose text embeddings are averaged, at each comma followed by a space."""
    return concept.split(", ")


def normalize_concept(concept: str) -> tuple[str, ...]:
    """Normalise a concept for comparison: case, spaces and the order of synonyms do not count."""
    return tuple(sorted({" ".join(synonym.casefold().split()) for synonym in split_synonyms(concept)}))


def require_words(prompts: Sequence[str]) -> None:
    """Refuse concepts that are placeholders (``class_3``, ``label 1``, ``7``), which no model can be asked for.

    Raises:
        ConfigError: there are some.
    """
    found = [repr(prompt) for prompt in prompts if any(map(is_placeholder, split_synonyms(prompt)))]
    if found:
        shown = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
        raise ConfigError(
            f"a teacher that is asked with words cannot look for {shown}: write the real names into classes.txt, a "
            "name a line in the order of the class ids, and set data.classes: classes.txt"
        )


def is_placeholder(name: str) -> bool:
    """Whether a name only stands where one is missing."""
    return _PLACEHOLDER.fullmatch(name.strip()) is not None


def names_background(name: str) -> bool:
    """Whether a class of this name is what is left over, not a thing of its own."""
    return name.strip("_ ").casefold() in _BACKGROUND


def check_vocabulary(
    names: Sequence[str],
    concepts: Sequence[Sequence[str]],
    colors: Sequence[RGB],
    background: float | None,
    templates: Sequence[str],
    ignore: Collection[str],
) -> None:
    """Refuse fields of a `Vocabulary` that cannot work.

    Raises:
        RuleError: the first rule that is broken.
    """
    _check_names(names, ignore)
    _check_concepts(names, concepts, constant=background is not None)
    if background is not None and not 0 <= background <= 1:
        raise RuleError(f"threshold {background} is not a score; expected 0 to 1, like 0.4", key="background")
    if background is not None and len(names) == 1:
        raise RuleError("nothing but the background; add the classes to look for", key="background")
    _check_colors(names, colors)
    for template in templates:
        check_template(template)


def _check_names(names: Sequence[str], ignore: Collection[str]) -> None:
    if not names:
        raise RuleError("no classes; list their names in the order of their ids")
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name.strip():
            raise RuleError(f"class {index} has an empty name", owner=index)
        if len(name) > LONGEST_NAME:
            raise RuleError(f"class {index} has a name of {len(name):,} characters: '{name[:40]}…'", owner=index)
        if name in seen:
            raise RuleError(f"class '{name}' is listed twice", owner=index)
        if name in ignore:
            raise RuleError(f"class '{name}' is also a name to ignore", owner=index)
        seen.add(name)
    if len(names) > MOST_CLASSES:
        raise RuleError(
            f"{len(names)} classes; at most {MOST_CLASSES} are possible (255 is the ignore value)", owner=MOST_CLASSES
        )


def _check_concepts(names: Sequence[str], concepts: Sequence[Sequence[str]], *, constant: bool) -> None:
    if len(concepts) != len(names):
        raise RuleError(f"{len(names)} names but concepts for {len(concepts)}")
    found: dict[tuple[str, ...], int] = {}
    for index, (name, own) in enumerate(zip(names, concepts, strict=True)):
        if constant and index == 0 and own:
            raise RuleError(
                f"class '{name}' has concepts and a background threshold; its score is either asked for or constant",
                owner=0,
            )
        if not own and not (constant and index == 0):
            raise RuleError(f"class '{name}' has no concepts; give one, or leave them out", owner=index)
        for concept in own:
            if not all(synonym.strip() for synonym in split_synonyms(concept)):
                raise RuleError(f"class '{name}': concept '{concept}' has an empty synonym", owner=index)
            other = found.setdefault(normalize_concept(concept), index)
            if other != index:
                raise RuleError(
                    f"class '{name}': concept '{concept}' belongs to class '{names[other]}' already; "
                    "both would get the same map and the second could never win",
                    owner=index,
                )
        if len({normalize_concept(concept) for concept in own}) < len(own):
            raise RuleError(f"class '{name}' lists a concept twice", owner=index)


def _check_colors(names: Sequence[str], colors: Sequence[RGB]) -> None:
    if colors and len(colors) != len(names):
        raise RuleError(f"{len(names)} names but {len(colors)} colours", key="colors")
    for name, color in zip(names, colors, strict=False):
        if not all(0 <= part <= 255 for part in color):
            wanted = "expected [red, green, blue], 0 to 255"
            raise RuleError(f"class '{name}': colour {list(color)} is out of range; {wanted}", key="colors")


def check_template(template: str) -> None:
    """Refuse a template without place for a concept.

    Raises:
        RuleError: no ``{}``, or other braces.
    """
    rest = template.replace("{}", "")
    if "{}" not in template or "{" in rest or "}" in rest:
        raise RuleError(
            f"template '{template}': expected a sentence with {{}} where the concept stands", key="templates"
        )
