"""Proposals of `data.masks.map` for masks with unknown values or colours, or with a class that files call no data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from semiovs.audit.record_check import Inspection
from semiovs.config.yaml_reader import format_inline
from semiovs.data.collection import Collection
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding
from semiovs.images.mask_values import Key, format_key
from semiovs.images.record import Record

#: Keys of a map that are written out; values and colours that are counted, more are no classes.
_SHOWN, _MOST = 64, 4096


class ForeignValues:
    """What the masks that cannot be taken for classes hold instead, all of them together."""

    def __init__(self, collection: Collection) -> None:
        self.masks, self.vocabulary = collection.masks, collection.vocabulary
        self.counts: dict[str, Counter[Key]] = {"values": Counter(), "colors": Counter()}

    def add(self, found: Inspection) -> None:
        """Count what the mask of a record holds, if it is one of those."""
        if found.foreign is not None:
            kind, counts = found.foreign
            if len(self.counts[kind]) <= _MOST:
                self.counts[kind].update(counts)

    def propose_mask_maps(self) -> Iterator[Finding]:
        """A note for the masks with unknown values, and one for those with colours, with the map that would read
        them.
        """
        if self.masks.map is not None or self.masks.reduce_zero_label:
            return
        if values := sorted(value for (value,) in self.counts["values"] if value != IGNORE):
            yield self._propose_for_values(values)
        if self.counts["colors"]:
            yield self._propose_for_colors([color for color, _ in self.counts["colors"].most_common()])

    def _propose_for_values(self, values: list[int]) -> Finding:
        names = self.vocabulary.names
        missing, values = [v for v in values if v < 0], [v for v in values if v >= 0]
        if missing:
            return self._propose_no_data(missing, values)
        if values[-1] == len(names) and len(values) <= len(names) + 1 and 0 in values:
            fix = (
                "is 0 'no class'? then set data.masks.reduce_zero_label=true; is a class missing? add it to "
                "data.classes"
            )
        elif len(values) == len(names):
            meant = {str(value): name for value, name in zip(values, names, strict=True)}
            fix = f"one value for each class: set data.masks.map={format_inline(meant)}, if they stand in this order"
        else:
            meant = {str(value): names[value] if value < len(names) else "?" for value in values[:_SHOWN]}
            fix = f"say what each means: data.masks.map={format_inline(meant)}"
        return _make_proposal(f"the masks with unknown values hold {_join_values(values)}", fix)

    def _propose_no_data(self, missing: list[int], values: list[int]) -> Finding:
        """Negative values and NaN are no classes, but 'no data'; all other values have to be named beside them."""
        names = self.vocabulary.names
        known = {str(value): name for value, name in enumerate(names[:_SHOWN])}
        other = {str(value): "?" for value in values[:_SHOWN] if value >= len(names)}
        meant = known | other | {format_key((value,)): "ignore" for value in missing[:_SHOWN]}
        fix = f"if negative values and NaN mean 'no data', set data.masks.map={format_inline(meant)}"
        return _make_proposal(f"the masks with unknown values hold {_join_values([*missing, *values])}", fix)

    def _propose_for_colors(self, colors: list[Key]) -> Finding:
        """Certain if every colour is one that the class file gives (or ignore's white or black, if no class has it)."""
        own: dict[Key, str] = dict(zip(self.vocabulary.colors, self.vocabulary.names, strict=False))
        text = f"the colour masks hold {len(colors)} colours" + (" and more" if len(colors) > _MOST else "")
        if own and set(colors) <= set(own):
            every = {format_key(color): name for color, name in own.items()}
            return _make_proposal(
                f"{text}, all of them colours of your classes",
                f"set data.masks.map={format_inline(every)}",
                {"data.masks.map": every},
            )
        if len(colors) > _SHOWN:
            return _make_proposal(text, "so many are no classes: were the masks resized or saved as JPEG on the way?")
        meant = {format_key(color): own.get(color, "?") for color in colors}
        return _make_proposal(text, f"say what each means: data.masks.map={format_inline(meant)}")


class DeclaredNoData:
    """Values of classes that mask files themselves declare as no data (GDAL's tag)."""

    def __init__(self, collection: Collection) -> None:
        self.masks, self.names = collection.masks, collection.vocabulary.names
        self.files: Counter[int] = Counter()
        self.first: dict[int, str] = {}

    def add(self, record: Record, found: Inspection) -> None:
        """Count the value of a record's mask, if there is one."""
        if found.nodata is not None:
            self.files[found.nodata] += 1
            self.first.setdefault(found.nodata, str(record.mask))

    def find_contradictions(self) -> Iterator[Finding]:
        """A warning for each such value that no map names."""
        for value, number in sorted(self.files.items()) if self.masks.map is None else ():
            name = self.names[self.masks.find_class(value) or 0]
            text = f"{number} masks declare {value} as 'no data', but it is the class {name} here"
            known = {str(key): "ignore" if key == value else other for key, other in self._list_classes()}
            fix = f"if it means 'not labelled', set data.masks.map={format_inline(known)}"
            yield Finding("mask-nodata", "warning", text, where="data.masks", file=self.first[value], fix=fix)

    def _list_classes(self) -> list[tuple[int, str]]:
        """Values in the files, and their classes."""
        return list(enumerate(self.names[:_SHOWN], 1 if self.masks.reduce_zero_label else 0))


def _make_proposal(text: str, fix: str, setting: Mapping[str, object] | None = None) -> Finding:
    return Finding("mask-map", "note", text, where="data.masks", fix=fix, setting=setting or {})


def _join_values(values: list[int]) -> str:
    shown = ", ".join(format_key((value,)) for value in values[:20])
    return shown + (f" and {len(values) - 20} more" if len(values) > 20 else "")
