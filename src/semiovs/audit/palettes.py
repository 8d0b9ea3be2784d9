"""Compare the palettes of palette masks: the index of a colour must not change from file to file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from semiovs.audit.record_check import Inspection
from semiovs.config.yaml_reader import format_inline
from semiovs.data.collection import Collection
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding
from semiovs.images.mask_values import Key, format_key
from semiovs.images.record import Record

#: Share of the files with a colour that give it the same index, from which on the class of that index is proposed.
_SURE = 0.9
#: The indices of a file and their colours, those that occur.
_Used = tuple[tuple[int, Key], ...]


class Palettes:
    """The palettes of all masks whose indices are class ids; only indices that occur are compared."""

    def __init__(self, collection: Collection) -> None:
        self.masks, self.vocabulary = collection.masks, collection.vocabulary
        self.files: Counter[_Used] = Counter()
        self.first: dict[_Used, Path] = {}

    def add(self, record: Record, found: Inspection) -> None:
        """Count the palette of a record's mask, if it has one."""
        if found.palette and record.mask is not None:
            used = tuple(found.palette.items())
            self.files[used] += 1
            self.first.setdefault(used, record.mask)

    def find_renumbered_colors(self) -> Iterator[Finding]:
        """One error if files give the same colours other indices, with the map that would read the colours.

        Files that show a colour of their own are not compared, because their palette may be another one throughout;
        nor are colours that a file shows under several indices. ``encoding: id`` says that the indices are right.
        """
        if self.masks.encoding == "id":
            return
        seen, shown = self._count_colors()
        usual: dict[Key, int] = {}
        for (index, color), _ in seen.most_common():
            usual.setdefault(color, index)
        moved = {
            used: (index, color)
            for used in self.files
            if all(shown[color] > 1 for _, color in used)
            for index, color in _list_unique(used)
            if usual[color] != index
        }
        if moved:
            sure = {color for color, index in usual.items() if seen[index, color] >= _SURE * shown[color]}
            yield self._describe(moved, usual, sure)

    def _count_colors(self) -> tuple[Counter[tuple[int, Key]], Counter[Key]]:
        """Files of each index with its colour, and of each colour."""
        seen: Counter[tuple[int, Key]] = Counter()
        shown: Counter[Key] = Counter()
        for used, files in self.files.items():
            for index, color in _list_unique(used):
                seen[index, color] += files
                shown[color] += files
        return seen, shown

    def _describe(self, moved: dict[_Used, tuple[int, Key]], usual: dict[Key, int], sure: set[Key]) -> Finding:
        used, (index, color) = next(iter(moved.items()))
        here, number = self.first[used], sum(self.files[each] for each in moved)
        there = next(path for each, path in self.first.items() if (usual[color], color) in each)
        text = (
            f"{number} masks have a palette with the same colours under other indices: {format_key(color)} is {index} "
            f"in {here}, but {usual[color]} in {there}"
        )
        meant = format_inline(self._propose_names(usual, sure))
        fix = (
            f"if the colours mean the classes, set data.masks.encoding=rgb and data.masks.map={meant}; "
            "if the indices do, set data.masks.encoding=id"
        )
        return Finding("mask-palettes", "error", text, where="data.masks", file=str(here), fix=fix)

    def _propose_names(self, usual: dict[Key, int], sure: set[Key]) -> dict[str, str]:
        """Names of the colours: those of the class file, or of the index that nearly all files give a colour."""
        names = dict(enumerate(self.vocabulary.names)) | {IGNORE: "ignore"}
        own: dict[Key, str] = dict(zip(self.vocabulary.colors, self.vocabulary.names, strict=False))
        plain = self.masks.map is None and not self.masks.reduce_zero_label  # indices are class ids
        guessed = {color: names.get(usual[color], "?") for color in sure if plain}
        ordered = sorted(usual, key=lambda color: (usual[color], color))
        return {format_key(color): own.get(color) or guessed.get(color, "?") for color in ordered}


def _list_unique(used: _Used) -> list[tuple[int, Key]]:
    """The entries whose colour has one index."""
    number = Counter(color for _, color in used)
    return [(index, color) for index, color in used if number[color] == 1]
