"""Vocabularies: class names and their concepts, in the order of the class ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import ConfigError, DataError, did_you_mean
from semiovs.vocab.colors import RGB
from semiovs.vocab.default_colors import complete_colors
from semiovs.vocab.load import read_vocabulary
from semiovs.vocab.rules import RuleError, check_vocabulary, names_background


@dataclass(frozen=True)
class Vocabulary:
    """Class names, the concepts (prompts) of each, and colours for pictures.

    names: one per class, in the order of the ids; concepts: per class one or more entries, each a comma-separated list
    of synonyms (empty: the names); colors: optional RGB triples (see `shown_colors`); background: constant score of
    class 0, which then has no concepts (None: class 0 is asked for like any other); templates: sentences with a ``{}``
    for the concept (empty: the teacher's own); ignore: names that in maps of mask values mean 255.

    Labels and weights can be read with a vocabulary of the same names in the same order (`difference`). Labels can be
    added to a store of the same `hash`, because a teacher's labels depend on the concepts.

    Raises:
        ConfigError: a rule of `semiovs.vocab.rules` is broken.
    """

    names: tuple[str, ...]
    concepts: tuple[tuple[str, ...], ...] = ()
    colors: tuple[RGB, ...] = ()
    background: float | None = None
    templates: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.concepts:
            constant = self.background is not None
            asked = (() if constant and index == 0 else (name,) for index, name in enumerate(self.names))
            object.__setattr__(self, "concepts", tuple(asked))
        check_vocabulary(**vars(self))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The concepts of all classes, class by class; a teacher returns one map for each."""
        return tuple(concept for concepts in self.concepts for concept in concepts)

    @property
    def owners(self) -> tuple[int, ...]:
        """Class id of each prompt."""
        return tuple(index for index, concepts in enumerate(self.concepts) for _ in concepts)

    @property
    def has_background(self) -> bool:
        """Whether class 0 is a background: it has a constant score, or such a name."""
        return self.background is not None or names_background(self.names[0])

    @property
    def shown_colors(self) -> tuple[RGB, ...]:
        """Colour of each class in pictures: `colors`, or where there are none, the default ones."""
        return self.colors or complete_colors([None] * len(self), background=self.has_background)

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of names, concepts, background and templates (colours do not count)."""
        facts: list[Any] = [self.names, self.concepts]
        if self.background is not None or self.templates:
            facts += [self.background, self.templates]
        text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def difference(self, wanted: Vocabulary) -> str | None:
        """How the names differ from those of `wanted`, in words; None if class ids mean the same in both."""
        if len(self) != len(wanted):
            only = {"there": [n for n in self if n not in wanted.names], "wanted": [n for n in wanted if n not in self]}
            named = [f"; only {where}: {_shorten(names)}" for where, names in only.items() if names]
            return f"{len(self)} classes there, {len(wanted)} wanted{''.join(named)}"
        pairs = enumerate(zip(self.names, wanted.names, strict=True))
        first = next(((i, own, other) for i, (own, other) in pairs if own != other), None)
        if first is None:
            return None
        order = "the same names in another order: " if set(self.names) == set(wanted.names) else ""
        return f"{order}class {first[0]} is '{first[1]}' there, '{first[2]}' wanted"

    def index(self, name: str) -> int:
        """Id of the class called `name`.

        Raises:
            ConfigError: there is none; the nearest name is proposed.
        """
        if name not in self.names:
            raise ConfigError(f"class '{name}' is not in the vocabulary{did_you_mean(name, self.names)}")
        return self.names.index(name)

    def check_channels(self, maps: int, where: str) -> None:
        """Check that a teacher returned one map for each prompt. maps: number of maps; where: its name, for the error.

        Raises:
            DataError: the numbers differ.
        """
        check_channels(maps, len(self.prompts), where)

    def as_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back; background, templates and ignore only where they are set."""
        data: dict[str, Any] = {
            "names": list(self.names),
            "concepts": [list(c) for c in self.concepts],
            "colors": [list(c) for c in self.colors],
        }
        if self.background is not None:
            data["background"] = self.background
        further = {"templates": self.templates, "ignore": self.ignore}
        return data | {key: list(value) for key, value in further.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        """Inverse of `as_json`."""
        background = data.get("background")
        return cls(
            tuple(data["names"]),
            tuple(tuple(c) for c in data.get("concepts", ())),
            tuple((int(r), int(g), int(b)) for r, g, b in data.get("colors", ())),
            None if background is None else float(background),
            tuple(data.get("templates", ())),
            tuple(data.get("ignore", ())),
        )

    @classmethod
    def of(cls, names: Sequence[str]) -> Vocabulary:
        """Vocabulary whose concepts are the class names themselves."""
        return cls(tuple(names))

    @classmethod
    def load(cls, name_or_path: str | Path) -> Vocabulary:
        """Read a shipped vocabulary by name, a YAML file (docs/reference/vocabulary.md) or a text file with a name a
        line.

        Raises:
            ConfigError: no such vocabulary, or a file that holds none; file, line and key are named.
        """
        found = read_vocabulary(name_or_path)
        try:
            return cls(**found.fields())
        except RuleError as error:
            raise found.locate_error(error) from None


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def check_channels(maps: int, prompts: int, where: str) -> None:
    """Check that a teacher returned exactly one map for each prompt; otherwise all later classes would be shifted.

    Raises:
        DataError: the numbers differ.
    """
    if maps != prompts:
        raise DataError(
            f"{where}: {maps} concept maps for {prompts} prompts of the vocabulary; "
            "the teacher has to answer each prompt with one map, in their order (semiovs vocab show)"
        )
