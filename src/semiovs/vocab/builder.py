"""Build a vocabulary from its files: classes with their lines, and changes of inherited classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semiovs.errors import ConfigError, did_you_mean
from semiovs.vocab.colors import RGB
from semiovs.vocab.default_colors import complete_colors
from semiovs.vocab.rules import RuleError, names_background
from semiovs.vocab.schema import Background, ClassEntry


@dataclass
class VocabularyBuilder:
    """The parts of a vocabulary while it is built.

    concepts: by class name, in the order of the ids; label: the file, for errors; lines: file and line of each class;
    keys: file and line of each key. Methods raise RuleError; `locate_error` adds file and line to it.
    """

    label: str
    concepts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    colors: dict[str, RGB] = field(default_factory=dict)
    background: float | None = None
    templates: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    lines: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def overlay(self, entries: Sequence[ClassEntry], lines: Sequence[str]) -> None:
        """Replace classes of the same names, keeping what an entry does not set, and add the others at the end."""
        for index, (entry, line) in enumerate(zip(entries, lines, strict=True)):
            self.lines[name := entry.name] = line
            if any(name == other.name for other in entries[:index]):
                raise RuleError(f"class '{name}' is listed twice", owner=list(self.concepts).index(name))
            self.concepts[name] = self.concepts.get(name, (name,)) if entry.concepts is None else entry.concepts
            if entry.color is not None:
                self.colors[name] = entry.color

    def set_background(self, background: Background, entries: Sequence[ClassEntry]) -> None:
        """Set the concepts of class 0, or its constant score.

        entries: the file's own classes, whose concepts are not replaced.
        """
        name = next(iter(self.concepts))
        given = any(entry.name == name and entry.concepts for entry in entries)
        self.background = background.threshold
        if background.threshold is not None:
            self.concepts[name] = self.concepts[name] if given else ()
        elif background.concepts is None:
            self.concepts[name] = self.concepts[name] or (name,)
        elif given:
            what = f"background.concepts: class '{name}' has concepts already; give one of the two"
            raise RuleError(what, key="background")
        else:
            self.concepts[name] = background.concepts

    def drop(self, names: Sequence[str]) -> None:
        """Remove classes; their names, and others given here, mean 255 in maps of mask values."""
        if next(iter(self.concepts)) in names:
            self.background = None
        self._keep_classes({name: name for name in self.concepts if name not in names})
        self.ignore = tuple(dict.fromkeys([*self.ignore, *names]))

    def merge(self, new: str, parts: Sequence[str], line: str) -> None:
        """Merge `parts` into one class, at the place of the first in the order of ids, with the concepts of all."""
        self.keys["merge"] = line
        if not parts:
            raise RuleError(f"merge: '{new}' of no classes; name those that become one", key="merge")
        self._require_known(parts, "merge")
        self._require_free([new], parts, "merge")
        first, *others = (name for name in self.concepts if name in parts)
        concepts = tuple(dict.fromkeys(concept for name in (first, *others) for concept in self.concepts[name]))
        color = next((self.colors[name] for name in (first, *others) if name in self.colors), None)
        self._keep_classes({name: new if name == first else name for name in self.concepts if name not in others})
        self.concepts[new], self.lines[new] = concepts, line
        self.colors |= {} if color is None else {new: color}

    def rename(self, names: Mapping[str, str]) -> None:
        """Rename classes, all at once; their concepts stay."""
        self._require_known(names, "rename")
        self._require_free(names.values(), names, "rename")
        self._keep_classes({name: names.get(name, name) for name in self.concepts})

    def paint(self, colors: Mapping[int | str, RGB]) -> None:
        """Set colours by class name, or of all classes by id."""
        names = list(self.concepts)
        if any(isinstance(key, int) for key in colors) and len(colors) != len(names):
            what = f"colors: expected one for each of the {len(names)} classes, got {len(colors)}"
            raise RuleError(what, key="colors")
        by_name = {names[key] if isinstance(key, int) else key: color for key, color in colors.items()}
        self._require_known(by_name, "colors")
        self.colors |= by_name

    def _keep_classes(self, names: Mapping[str, str]) -> None:
        """Keep only these classes, under their new names."""
        self.concepts = {new: self.concepts[old] for old, new in names.items()}
        self.colors = {new: self.colors[old] for old, new in names.items() if old in self.colors}
        self.lines = {new: self.lines[old] for old, new in names.items()}

    def _require_known(self, wanted: Iterable[str], key: str) -> None:
        for name in wanted:
            if name not in self.concepts:
                raise RuleError(f"{key}: there is no class '{name}'{did_you_mean(name, self.concepts)}", key=key)

    def _require_free(self, wanted: Iterable[str], leaving: Iterable[str], key: str) -> None:
        taken = set(self.concepts) - set(leaving)
        for name in wanted:
            if name in taken:
                raise RuleError(f"{key}: class '{name}' is there already; choose another name", key=key)
            taken.add(name)

    def fields(self) -> dict[str, Any]:
        """Arguments of `Vocabulary`; classes without a colour get a default one, where any class has one."""
        background = self.background is not None or names_background(next(iter(self.concepts), ""))
        colors = complete_colors([self.colors.get(name) for name in self.concepts], background=background)
        return {
            "names": tuple(self.concepts),
            "concepts": tuple(self.concepts.values()),
            "colors": colors if self.colors else (),
            "background": self.background,
            "templates": self.templates,
            "ignore": self.ignore,
        }

    def locate_error(self, error: RuleError) -> ConfigError:
        """Add file and line of the class or key that breaks the rule to an error."""
        line = self.keys.get(error.key) if error.owner is None else list(self.lines.values())[error.owner]
        return ConfigError(f"vocabulary: {line or self.label}: {error.reason}")
