"""A vocabulary while its files are read: classes with the lines they come from, and what may be done to inherited ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from semiovs.errors import ConfigError, did_you_mean
from semiovs.vocab.colors import RGB, voc_color
from semiovs.vocab.rules import RuleError


@dataclass(frozen=True)
class ClassRow:
    """One class. concepts: None if the file does not say, which means its name; place: file and line, for errors."""

    name: str
    concepts: tuple[str, ...] | None
    color: RGB | None
    place: str

    @property
    def prompts(self) -> tuple[str, ...]:
        """Its concepts, the name where none are given."""
        return (self.name,) if self.concepts is None else self.concepts


@dataclass
class VocabularyBuilder:
    """Classes in order and everything else. label: the file, for errors; places: file and line of each of its keys."""

    label: str
    rows: list[ClassRow] = field(default_factory=list)
    background: float | None = None
    templates: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    places: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The classes."""
        return [row.name for row in self.rows]

    def overlay(self, rows: Sequence[ClassRow]) -> None:
        """Replace the classes of the same names, keeping what a new row leaves open; add the others at the end.

        Raises:
            ConfigError: a class twice among `rows`.
        """
        inherited = self.names
        for index, row in enumerate(rows):
            if any(row.name == other.name for other in rows[:index]):
                raise ConfigError(f"vocabulary: {row.place}: class '{row.name}' is listed twice")
            if row.name in inherited:
                old = self.rows[at := inherited.index(row.name)]
                concepts = old.prompts if row.concepts is None else row.concepts
                self.rows[at] = replace(row, concepts=concepts, color=row.color or old.color)
            else:
                self.rows.append(row)

    def name_background(self, concepts: tuple[str, ...] | None) -> None:
        """Class 0 is asked for by these concepts; None: by its name where it has none."""
        self.background = None
        if concepts is not None or self.rows[0].concepts == ():
            self.rows[0] = replace(self.rows[0], concepts=concepts)

    def hold_background(self, threshold: float, *, own: bool) -> None:
        """Class 0 gets the constant score `threshold`; concepts that it was not given here (`own`) are forgotten."""
        self.background = threshold
        if not own:
            self.rows[0] = replace(self.rows[0], concepts=())

    def drop(self, names: Sequence[str]) -> None:
        """Take away classes, and let their names in maps of mask values mean 255; names that are no class are kept for this."""
        if self.background is not None and self.rows[0].name in names:
            self.background = None
        self.rows = [row for row in self.rows if row.name not in names]
        self.ignore = tuple(dict.fromkeys([*self.ignore, *names]))

    def merge(self, new: str, parts: Sequence[str], place: str) -> None:
        """Make one class of `parts`: at the place of the first in the order of ids, with the concepts of all.

        Raises:
            ConfigError: no parts, a part that is no class, or `new` is a class that is no part.
        """
        if not parts:
            raise ConfigError(f"vocabulary: {place}: merge: '{new}' of no classes; name those that become one")
        self._require(parts, "merge", place)
        self._require_free(new, parts, "merge", place)
        kept = [row for row in self.rows if row.name in parts]
        concepts = tuple(dict.fromkeys(concept for row in kept for concept in row.prompts))
        color = next((row.color for row in kept if row.color), None)
        self.rows[self.rows.index(kept[0])] = ClassRow(new, concepts, color, place)
        self.rows = [row for row in self.rows if row not in kept]

    def rename(self, names: Mapping[str, str], place: str) -> None:
        """Give classes other names, all at once; their concepts stay.

        Raises:
            ConfigError: no such class, or the new name is taken.
        """
        self._require(names, "rename", place)
        for new in names.values():
            self._require_free(new, names, "rename", place)
        self.rows = [
            replace(row, name=names[row.name], concepts=row.prompts) if row.name in names else row for row in self.rows
        ]

    def paint(self, colors: Mapping[int | str, RGB], place: str) -> None:
        """Set colours by class name, or all of them by class id.

        Raises:
            ConfigError: no such class, or not one colour for each.
        """
        names = self.names
        if any(isinstance(key, int) for key in colors) and len(colors) != len(names):
            wanted = f"expected one for each of the {len(names)} classes"
            raise ConfigError(f"vocabulary: {place}: colors: {wanted}, got {len(colors)}")
        by_name = {names[key] if isinstance(key, int) else key: color for key, color in colors.items()}
        self._require(by_name, "colors", place)
        self.rows = [replace(row, color=by_name.get(row.name, row.color)) for row in self.rows]

    def _require(self, wanted: Sequence[str] | Mapping[str, Any], key: str, place: str) -> None:
        for name in wanted:
            if name not in self.names:
                hint = did_you_mean(name, self.names)
                raise ConfigError(f"vocabulary: {place}: {key}: there is no class '{name}'{hint}")

    def _require_free(self, name: str, leaving: Sequence[str] | Mapping[str, Any], key: str, place: str) -> None:
        if name not in leaving and name in self.names:
            raise ConfigError(f"vocabulary: {place}: {key}: class '{name}' is there already; choose another name")

    def fields(self) -> dict[str, Any]:
        """Arguments of `Vocabulary`; classes without a colour get VOC's, where any class has one."""
        colored = any(row.color for row in self.rows)
        return {
            "names": tuple(self.names),
            "concepts": tuple(row.prompts for row in self.rows),
            "colors": tuple(row.color or voc_color(i) for i, row in enumerate(self.rows)) if colored else (),
            "background": self.background,
            "templates": self.templates,
            "ignore": self.ignore,
        }

    def locate(self, error: RuleError) -> ConfigError:
        """The same error with the file and line of the class or key that breaks the rule."""
        place = self.places.get(error.key, self.label) if error.owner is None else self.rows[error.owner].place
        return ConfigError(f"vocabulary: {place}: {error.reason}")
