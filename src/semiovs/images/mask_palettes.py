"""Compare the palettes of mask files: the index of a colour must not change from file to file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semiovs.images.conventions import IGNORE
from semiovs.images.mask_values import Key, format_key

#: Share of the files with a colour that give it the same index, from which on that index is certain.
_SURE = 0.9
#: The indices of a file and their colours, those that occur.
_Used = tuple[tuple[int, Key], ...]


@dataclass(frozen=True)
class RenumberedColors:
    """Colours that have other indices in other files.

    text: what was found where, with an example; file: the example; usual: colour -> its commonest index; sure: the
    colours to which nearly all files give that index.
    """

    text: str
    file: Path
    usual: Mapping[Key, int]
    sure: frozenset[Key]


@dataclass(frozen=True)
class RecoloredIndices:
    """Indices that have other colours in other files. text: what was found where, with an example; file: it."""

    text: str
    file: Path


class MaskPalettes:
    """The palettes of the masks of a set; only indices that occur are compared."""

    def __init__(self) -> None:
        self.files: Counter[_Used] = Counter()
        self.first: dict[_Used, Path] = {}

    def add(self, palette: Mapping[int, Key], path: Path) -> None:
        """Count the palette of a mask: index -> colour of those that occur; nothing for masks without one."""
        if palette:
            used = tuple(palette.items())
            self.files[used] += 1
            self.first.setdefault(used, path)

    def find_renumbered_colors(self) -> RenumberedColors | None:
        """Find out whether files give the same colours other indices.

        Files that show a colour of their own are not compared, because their palette may be another one throughout;
        nor are colours that a file shows under several indices.
        """
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
        if not moved:
            return None
        used, (index, color) = next(iter(moved.items()))
        here, number = self.first[used], sum(self.files[each] for each in moved)
        there = next(path for each, path in self.first.items() if (usual[color], color) in each)
        text = (
            f"{number} masks have a palette with the same colours under other indices: {format_key(color)} is {index} "
            f"in {here}, but {usual[color]} in {there}"
        )
        sure = frozenset(color for color, index in usual.items() if seen[index, color] >= _SURE * shown[color])
        return RenumberedColors(text, here, usual, sure)

    def find_recolored_indices(self) -> RecoloredIndices | None:
        """Find out whether files show the same index (`IGNORE` aside) in other colours, as palettes do that a program
        made anew for each file: one index is then several classes.
        """
        shown: dict[int, dict[Key, Path]] = {}
        for used in self.files:
            for index, color in used:
                shown.setdefault(index, {}).setdefault(color, self.first[used])
        changed = {index: colors for index, colors in shown.items() if index != IGNORE and len(colors) > 1}
        if not changed:
            return None
        index, colors = min(changed.items())
        (color, there), (other, here), *_ = colors.items()
        text = (
            f"{len(changed)} indices of palette masks have other colours in other files: {index} is "
            f"{format_key(other)} in {here}, but {format_key(color)} in {there}"
        )
        return RecoloredIndices(text, here)

    def _count_colors(self) -> tuple[Counter[tuple[int, Key]], Counter[Key]]:
        """Files of each index with its colour, and of each colour."""
        seen: Counter[tuple[int, Key]] = Counter()
        shown: Counter[Key] = Counter()
        for used, files in self.files.items():
            for index, color in _list_unique(used):
                seen[index, color] += files
                shown[color] += files
        return seen, shown


def _list_unique(used: _Used) -> list[tuple[int, Key]]:
    """The entries whose colour has one index."""
    number = Counter(color for _, color in used)
    return [(index, color) for index, color in used if number[color] == 1]
