"""Classes in order. The only source of class order in the whole program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from semiovs.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Vocabulary:
    """Class names, the concepts (prompts) of each, and colours for pictures.

    names: one per class, in the order of the ids; concepts: per class one or more entries, each a comma-separated list of
    synonyms; colors: optional RGB triples; background: constant score of class 0 in place of concepts (None: class 0 is asked for
    like any other); templates: sentences with a ``{}`` for the concept (empty: the teacher's own).

    Whoever reads labels or weights needs the same names in the same order (`difference`); whoever adds labels to a store needs
    the same `hash`, because a teacher that was asked with other concepts answers differently.
    """

    names: tuple[str, ...]
    concepts: tuple[tuple[str, ...], ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    background: float | None = None
    templates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("vocabulary: no classes; list their names in the order of their ids")
        seen: set[str] = set()
        for index, name in enumerate(self.names):
            if not name.strip():
                raise ConfigError(f"vocabulary: class {index} has an empty name")
            if name in seen:
                raise ConfigError(f"vocabulary: class '{name}' is listed twice")
            seen.add(name)
        if len(self.names) > 255:
            raise ConfigError(
                f"vocabulary: {len(self.names)} classes; at most 255 are possible (255 is the ignore value)"
            )
        if not self.concepts:
            object.__setattr__(self, "concepts", tuple((name,) for name in self.names))
        if len(self.concepts) != len(self.names):
            raise ConfigError(f"vocabulary: {len(self.names)} names but concepts for {len(self.concepts)}")
        if self.colors and len(self.colors) != len(self.names):
            raise ConfigError(f"vocabulary: {len(self.names)} names but {len(self.colors)} colours")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The concepts of all classes in one row, class by class: one map of a teacher each."""
        return tuple(concept for concepts in self.concepts for concept in concepts)

    @property
    def owners(self) -> tuple[int, ...]:
        """Class id of each prompt."""
        return tuple(index for index, concepts in enumerate(self.concepts) for _ in concepts)

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of names, concepts, background and templates (colours do not count)."""
        facts: list[Any] = [self.names, self.concepts]
        if self.background is not None or self.templates:
            facts += [self.background, self.templates]
        text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def difference(self, wanted: Vocabulary) -> str | None:
        """First difference of the names from those of `wanted`, in words; None if class ids mean the same in both."""
        if len(self) != len(wanted):
            return f"{len(self)} classes there, {len(wanted)} wanted"
        pairs = enumerate(zip(self.names, wanted.names, strict=True))
        return next(
            (f"class {i} is '{own}' there, '{other}' wanted" for i, (own, other) in pairs if own != other), None
        )

    def index(self, name: str) -> int:
        """Id of the class called `name`.

        Raises:
            ConfigError: there is none; the nearest name is proposed.
        """
        if name not in self.names:
            raise ConfigError(f"class '{name}' is not in the vocabulary{did_you_mean(name, self.names)}")
        return self.names.index(name)

    def as_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {
            "names": list(self.names),
            "concepts": [list(c) for c in self.concepts],
            "colors": [list(c) for c in self.colors],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        """Inverse of `as_json`."""
        colors = tuple((int(r), int(g), int(b)) for r, g, b in data.get("colors", ()))
        return cls(tuple(data["names"]), tuple(tuple(c) for c in data.get("concepts", ())), colors)

    @classmethod
    def of(cls, names: Sequence[str]) -> Vocabulary:
        """Vocabulary whose concepts are the class names themselves."""
        return cls(tuple(names))

    @classmethod
    def load(cls, name_or_path: str | Path) -> Vocabulary:
        """Read a shipped vocabulary by name, a YAML file (``classes:`` list or mapping) or a text file with a name a line.

        Raises:
            ConfigError: no such vocabulary, or a file that holds none.
        """
        path = Path(name_or_path)
        if path.suffix in {".yaml", ".yml", ".txt"} or path.is_file():
            return cls._read(path)
        shipped = {entry.name.removesuffix(".yaml"): entry for entry in _shipped()}
        if str(name_or_path) not in shipped:
            raise ConfigError(
                f"vocabulary '{name_or_path}' is neither a file nor shipped{did_you_mean(str(name_or_path), shipped)}"
            )
        return cls._parse(yaml.safe_load(shipped[str(name_or_path)].read_text("utf-8")), str(name_or_path))

    @classmethod
    def _read(cls, path: Path) -> Vocabulary:
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as a class list: {error}") from None
        if path.suffix == ".txt":
            return cls.of([line.strip() for line in text.splitlines() if line.strip()])
        try:
            return cls._parse(yaml.safe_load(text), str(path))
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {error}") from None

    @classmethod
    def _parse(cls, data: Any, where: str) -> Vocabulary:
        classes = data.get("classes", data.get("names")) if isinstance(data, Mapping) else data
        if isinstance(classes, Mapping):
            classes = [classes[key] for key in sorted(classes)] if all(isinstance(k, int) for k in classes) else [
                {"name": name, "concepts": concepts} for name, concepts in classes.items()
            ]  # fmt: skip
        if not isinstance(classes, Sequence) or isinstance(classes, str):
            raise ConfigError(f"{where}: expected a list of class names under 'classes'")
        names, concepts, colors = [], [], []
        for item in classes:
            row = item if isinstance(item, Mapping) else {"name": item}
            names.append(str(row["name"]))
            given = row.get("concepts") or [str(row["name"])]
            concepts.append((given,) if isinstance(given, str) else tuple(str(c) for c in given))
            if row.get("color"):
                red, green, blue = row["color"]
                colors.append((int(red), int(green), int(blue)))
        return cls(tuple(names), tuple(concepts), tuple(colors))


def _shipped() -> list[Any]:
    return sorted((resources.files("semiovs.vocab") / "data").iterdir(), key=lambda entry: entry.name)


def shipped_vocabularies() -> list[str]:
    """Names of the vocabularies in the package."""
    return [entry.name.removesuffix(".yaml") for entry in _shipped() if entry.name.endswith(".yaml")]
