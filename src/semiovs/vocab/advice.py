"""Warnings about vocabularies: entries that are allowed but probably mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from semiovs.vocab.rules import is_placeholder, names_background, normalize_concept, split_synonyms
from semiovs.vocab.vocabulary import Vocabulary

#: More synonyms than this in one concept: their mean says little about each.
MANY_SYNONYMS = 10
#: A teacher's cost grows with the number of concepts.
MANY_CONCEPTS = 400
#: Longer concepts are cut by CLIP's 77 tokens, sentence included.
LONG_CONCEPT = 200

_SEPARATORS = re.compile(r"\w\s*[/;|]\s*\w|\w,\w|\w ,")


def list_warnings(vocabulary: Vocabulary) -> list[str]:
    """List a warning for each entry that is probably a mistake."""
    return list(
        chain(
            _warn_of_separators(vocabulary),
            _warn_of_sizes(vocabulary),
            _warn_of_overlaps(vocabulary),
            _warn_of_templates(vocabulary),
            _warn_of_background(vocabulary),
        )
    )


def _warn_of_separators(vocabulary: Vocabulary) -> Iterator[str]:
    for index, concept in _list_concepts(vocabulary):
        if _SEPARATORS.search(concept) or concept.endswith((",", "/")):
            yield (
                f"class '{vocabulary.names[index]}': concept '{concept}' is asked for as it stands; "
                "synonyms are separated by comma and blank ', ' only"
            )


def _warn_of_sizes(vocabulary: Vocabulary) -> Iterator[str]:
    if len(vocabulary.prompts) > MANY_CONCEPTS:
        yield f"{len(vocabulary.prompts)} concepts: time and memory of a teacher grow with their number"
    for index, concept in _list_concepts(vocabulary):
        name = vocabulary.names[index]
        if len(split_synonyms(concept)) > MANY_SYNONYMS:
            yield (
                f"class '{name}': {len(split_synonyms(concept))} synonyms are averaged into one concept; "
                "list them as entries of their own to take the best of them"
            )
        if any(len(synonym) > LONG_CONCEPT for synonym in split_synonyms(concept)):
            yield f"class '{name}': a concept of more than {LONG_CONCEPT} letters: CLIP cuts texts at 77 tokens"


def _warn_of_overlaps(vocabulary: Vocabulary) -> Iterator[str]:
    """Warn of synonyms that two classes share (concepts that two classes share are errors)."""
    owner: dict[tuple[str, ...], int] = {}
    for index, concept in _list_concepts(vocabulary):
        for synonym in split_synonyms(concept):
            other = owner.setdefault(normalize_concept(synonym), index)
            if other != index:
                names = vocabulary.names
                yield f"synonym '{synonym.strip()}' is in the classes '{names[other]}' and '{names[index]}'"


def _warn_of_templates(vocabulary: Vocabulary) -> Iterator[str]:
    for template in vocabulary.templates:
        if vocabulary.templates.count(template) > 1:
            yield f"template '{template}' is listed twice"
            return
    words = {word for template in vocabulary.templates for word in re.findall(r"\w+", template.casefold())}
    for _, concept in _list_concepts(vocabulary):
        shared = next((s for s in split_synonyms(concept) if s.strip().casefold() in words), None)
        if shared is not None:
            yield f"concept '{shared.strip()}' also stands in a template: every class is asked for with that word"


def _warn_of_background(vocabulary: Vocabulary) -> Iterator[str]:
    first = vocabulary.names[0]
    if vocabulary.background is None and vocabulary.concepts[0] == (first,) and names_background(first):
        yield (
            f"class 0 is asked for as '{first}', which pictures show nothing of; "
            "name what is in the background (background: {concepts: [...]}) or give background: {threshold: 0.4}"
        )
    for index, name in enumerate(vocabulary.names):
        if vocabulary.concepts[index] == (name,) and is_placeholder(name):
            yield f"class '{name}' has no word that a teacher could know; rename it or give it concepts"


def _list_concepts(vocabulary: Vocabulary) -> Iterator[tuple[int, str]]:
    return zip(vocabulary.owners, vocabulary.prompts, strict=True)
