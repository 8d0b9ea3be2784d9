"""Compare two vocabularies: renamed, merged and moved classes; whether labels and stores may be shared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from semiovs.vocab.rules import normalize_concept
from semiovs.vocab.vocabulary import Vocabulary


@dataclass(frozen=True)
class ClassChange:
    """One class that differs. kind: added, removed, moved, renamed, merged or concepts; left, right: its id on each
    side.
    """

    kind: str
    name: str
    left: int | None
    right: int | None
    detail: str = ""


@dataclass(frozen=True)
class VocabularyComparison:
    """The comparison of `left` with `right`."""

    left: Vocabulary
    right: Vocabulary

    @property
    def same_labels(self) -> bool:
        """Whether class ids mean the same in both, so that masks, stores and weights of one can be read with the
        other.
        """
        return self.left.difference(self.right) is None

    @property
    def same_store(self) -> bool:
        """Whether a teacher gets the same prompts, so that labels of both may be in one store."""
        return self.left.hash == self.right.hash

    @cached_property
    def targets(self) -> tuple[int | None, ...]:
        """For each class of `left` its id in `right`: by name, else the class that has all its concepts, else None."""
        return tuple(self._find_target(index) for index in range(len(self.left)))

    def _find_target(self, index: int) -> int | None:
        name = self.left.names[index]
        if name in self.right.names:
            return self.right.names.index(name)
        wanted = _normalize_concepts(self.left, index)
        heirs = (i for i in range(len(self.right)) if wanted and wanted <= _normalize_concepts(self.right, i))
        return next(heirs, None)

    @cached_property
    def changes(self) -> list[ClassChange]:
        """All classes that differ, in the order of the ids of `left`; then those that are only in `right`."""
        found = [change for index in range(len(self.left)) for change in self._compare_class(index)]
        return found + [
            ClassChange("added", name, None, index)
            for index, name in enumerate(self.right.names)
            if index not in self.targets and name not in self.left.names
        ]

    def _compare_class(self, index: int) -> list[ClassChange]:
        name, target = self.left.names[index], self.targets[index]
        if target is None:
            return [ClassChange("removed", name, index, None)]
        new = self.right.names[target]
        if new != name:
            kind = "merged" if self.targets.count(target) > 1 else "renamed"
            return [ClassChange(kind, name, index, target, f"now {new}")]
        moved = [ClassChange("moved", name, index, target)] if target != index else []
        before, after = self.left.concepts[index], self.right.concepts[target]
        if before == after:
            return moved
        parts = [f"- {c}" for c in before if c not in after] + [f"+ {c}" for c in after if c not in before]
        return [*moved, ClassChange("concepts", name, index, target, "; ".join(parts) or "in another order")]

    @property
    def settings(self) -> dict[str, tuple[object, object]]:
        """Background and templates where they differ: (value of `left`, value of `right`)."""
        pairs: dict[str, tuple[object, object]] = {
            "background threshold": (self.left.background, self.right.background),
            "templates": (self.left.templates, self.right.templates),
        }
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def mask_map(self) -> dict[str, str]:
        """`data.masks.map` that reads masks with ids of `left` as classes of `right`."""
        return {
            str(index): "ignore" if target is None else self.right.names[target]
            for index, target in enumerate(self.targets)
        }


def _normalize_concepts(vocabulary: Vocabulary, index: int) -> set[tuple[str, ...]]:
    return {normalize_concept(concept) for concept in vocabulary.concepts[index]}
