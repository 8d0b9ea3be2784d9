"""A vocabulary while it is read: its classes with the places they come from, and what may be done to an inherited one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from semiovs.errors import ConfigError, did_you_mean
from semiovs.vocab.colors import RGB, voc_color
from semiovs.vocab.rules import RuleError
from semiovs.vocab.vocabulary import Vocabulary


@dataclass(frozen=True)
class Row:
    """One class. concepts: None if the file does not say, which means its name; place: file and line, for errors."""

    name: str
    concepts: tuple[str, ...] | None
    color: RGB | None
    place: str

    @property
    def prompts(self) -> tuple[str, ...]:
        """Its concepts, the name where none are given."""
        return (self.name,) if self.concepts is None else self.concepts

    def over(self, other: Row) -> Row:
        """The row, with what it leaves open taken from `other`."""
        concepts = other.prompts if self.concepts is None else self.concepts
        return Row(self.name, concepts, self.color or other.color, self.place)


@dataclass
class Draft:
    """Classes in order and everything else; places: file and line of a key."""

    rows: list[Row] = field(default_factory=list)
    background: float | None = None
    templates: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    places: dict[str, str] = field(default_factory=dict)

    def overlay(self, rows: Sequence[Row]) -> None:
        """Replace the classes of the same names; add the others at the end.

        Raises:
            ConfigError: a class twice among `rows`.
        """
        inherited = {row.name: index for index, row in enumerate(self.rows)}
        seen: set[str] = set()
        for row in rows:
            if row.name in seen:
                raise ConfigError(f"vocabulary: {row.place}: class '{row.name}' is listed twice")
            seen.add(row.name)
            if row.name in inherited:
                self.rows[inherited[row.name]] = row.over(self.rows[inherited[row.name]])
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
        for part in parts:
            self._require(part, "merge", place)
        self._free(new, parts, "merge", place)
        kept = [row for row in self.rows if row.name in parts]
        concepts = tuple(dict.fromkeys(concept for row in kept for concept in row.prompts))
        color = next((row.color for row in kept if row.color), None)
        index = self.rows.index(kept[0])
        self.rows[index] = Row(new, concepts, color, place)
        self.rows = [row for row in self.rows if row not in kept]

    def rename(self, names: Mapping[str, str], place: str) -> None:
        """Give classes other names, all at once; their concepts stay.

        Raises:
            ConfigError: no such class, or the new name is taken.
        """
        for old, new in names.items():
            self._require(old, "rename", place)
            self._free(new, tuple(names), "rename", place)
        self.rows = [
            replace(row, name=names[row.name], concepts=row.prompts) if row.name in names else row for row in self.rows
        ]

    def paint(self, colors: Mapping[str, RGB], place: str) -> None:
        """Set colours by class name.

        Raises:
            ConfigError: no such class.
        """
        for name in colors:
            self._require(name, "colors", place)
        self.rows = [replace(row, color=colors.get(row.name, row.color)) for row in self.rows]

    def _require(self, name: str, key: str, place: str) -> None:
        names = [row.name for row in self.rows]
        if name not in names:
            raise ConfigError(f"vocabulary: {place}: {key}: there is no class '{name}'{did_you_mean(name, names)}")

    def _free(self, name: str, leaving: Sequence[str], key: str, place: str) -> None:
        if name not in leaving and any(row.name == name for row in self.rows):
            raise ConfigError(f"vocabulary: {place}: {key}: class '{name}' is there already; choose another name")

    def finish(self, label: str) -> Vocabulary:
        """The vocabulary.

        Raises:
            ConfigError: a rule is broken; the place of the class or key at fault is named.
        """
        colors: tuple[RGB, ...] = ()
        if any(row.color for row in self.rows):  # those left out get the colours they have without any
            colors = tuple(row.color or voc_color(index) for index, row in enumerate(self.rows))
        try:
            return Vocabulary(
                tuple(row.name for row in self.rows),
                tuple(row.prompts for row in self.rows),
                colors,
                self.background,
                self.templates,
                self.ignore,
            )
        except RuleError as error:
            where = self.places.get(error.key, label) if error.owner is None else self.rows[error.owner].place
            raise ConfigError(f"vocabulary: {where}: {error.reason}") from None
