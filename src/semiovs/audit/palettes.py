"""Tell masks whose palettes give the same colours other indices, or the same indices other colours."""

from __future__ import annotations

from collections.abc import Iterator

from semiovs.audit.record_check import Inspection
from semiovs.config.yaml_reader import format_inline
from semiovs.data.collection import Collection
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding
from semiovs.images.mask_palettes import MaskPalettes, RenumberedColors
from semiovs.images.mask_values import Key, format_key
from semiovs.images.record import Record


class Palettes:
    """The palettes of all masks whose indices are class ids."""

    def __init__(self, collection: Collection) -> None:
        self.masks, self.vocabulary = collection.masks, collection.vocabulary
        self.palettes = MaskPalettes()

    def add(self, record: Record, found: Inspection) -> None:
        """Count the palette of a record's mask, if it has one."""
        if record.mask is not None:
            self.palettes.add(found.palette, record.mask)

    def find_contradictions(self) -> Iterator[Finding]:
        """One error if files give the same colours other indices, with the map that would read the colours; else one
        warning if they give the same indices other colours. ``encoding: id`` says that the indices are right.
        """
        if self.masks.encoding == "id":
            return
        moved = self.palettes.find_renumbered_colors()
        if moved is not None:
            fix = (
                "if the colours mean the classes, set data.masks.encoding=rgb and "
                f"data.masks.map={format_inline(self._propose_names(moved))}; "
                "if the indices do, set data.masks.encoding=id"
            )
            yield Finding("mask-palettes", "error", moved.text, where="data.masks", file=str(moved.file), fix=fix)
        elif (changed := self.palettes.find_recolored_indices()) is not None:
            fix = (
                "if the colours mean the classes, set data.masks.encoding=rgb and name them in data.masks.map; if the "
                "indices do, set data.masks.encoding=id"
            )
            text, file = changed.text, str(changed.file)
            yield Finding("mask-recolored", "warning", text, where="data.masks", file=file, fix=fix)

    def _propose_names(self, moved: RenumberedColors) -> dict[str, str]:
        """Names of the colours: those of the class file, or of the index that nearly all files give a colour."""
        names = dict(enumerate(self.vocabulary.names)) | {IGNORE: "ignore"}
        own: dict[Key, str] = dict(zip(self.vocabulary.colors, self.vocabulary.names, strict=False))
        plain = self.masks.map is None and not self.masks.reduce_zero_label  # indices are class ids
        usual = moved.usual
        guessed = {color: names.get(usual[color], "?") for color in moved.sure if plain}
        ordered = sorted(usual, key=lambda color: (usual[color], color))
        return {format_key(color): own.get(color) or guessed.get(color, "?") for color in ordered}
