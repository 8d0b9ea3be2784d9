"""Read masks as class ids, 255 = ignore, from values or colours in files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from semiovs.config.schema import MaskConfig
from semiovs.errors import ConfigError, did_you_mean
from semiovs.images.conventions import IGNORE
from semiovs.images.mask_values import (
    NAN,
    ForeignValuesError,
    Key,
    StoredMask,
    count_values,
    format_key,
    read_stored_mask,
)
from semiovs.vocab.vocabulary import Vocabulary

_UNKNOWN = -1
_DEEPEST = 65536


@dataclass(frozen=True)
class _LookupTable:
    """Lookup table: value in the file -> class id, 255 or unknown. Colours are first replaced by ranks per channel."""

    ids: NDArray[np.int16]
    far: Mapping[int, int] = field(default_factory=dict)  # value below 0 or beyond 16 bits, or NAN -> class id
    ranks: NDArray[np.int32] | None = None  # (3, 256), scaled so that their sum indexes `ids`

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.int16]:
        if self.ranks is None:
            return self._look_up_values(values)
        index = self.ranks[0][values[..., 0]] + self.ranks[1][values[..., 1]] + self.ranks[2][values[..., 2]]
        return np.asarray(self.ids[index])

    def _look_up_values(self, values: NDArray[Any]) -> NDArray[np.int16]:
        if values.dtype.itemsize <= 2 and values.dtype.kind == "u":
            return np.asarray(self.ids[values])
        ids = np.asarray(self.ids[np.clip(values, 0, _DEEPEST).astype(np.intp)])
        if values.dtype.kind == "i":
            ids[values < 0] = _UNKNOWN
        for value, target in self.far.items():
            if value >= 0 or values.dtype.kind == "i":
                ids[values == value] = target
        return ids

    @cached_property
    def bytes(self) -> tuple[NDArray[np.uint8], int] | None:
        """The table for 8-bit values as uint8, and its mark for unknown; None for colours, or if no mark is free."""
        ids = self.ids[:256]
        free = np.setdiff1d(np.arange(256), ids)
        if self.ranks is not None or not free.size:
            return None
        return np.where(ids == _UNKNOWN, free[-1], ids).astype(np.uint8), int(free[-1])

    def look_up_bytes(self, values: NDArray[Any]) -> NDArray[np.uint8] | None:
        """Look up 8-bit values four times as fast; None if some are unknown or have more bits."""
        if values.dtype != np.uint8 or not values.size or self.bytes is None:
            return None
        table, unknown = self.bytes
        ids: NDArray[np.uint8] = np.asarray(cv2.LUT(values, table), np.uint8)
        return None if bool((ids == unknown).any()) else ids


@dataclass(frozen=True)
class MaskReader:
    """Reads mask files to (H, W) uint8 of class ids, 255 = ignore.

    names: class names in the order of their ids; encoding: ``id`` (palette, gray, 1-bit or 16-bit values), ``rgb``
    (colours) or ``auto`` (by `map` and file mode); map: value in the file (``"7"`` or ``"128,64,0"``) -> class id,
    class name or ``"ignore"``, every other value but 255 is then an error (``"-1"`` and ``"nan"`` name what floats and
    signed TIFF mark as no data; what the file itself declares as such need not be named); reduce_zero_label: 0 becomes
    ignore, the rest moves down by one; origin, map_key: the configuration section, and where a map can be given, as
    messages name them; ignore: further names in `map` that mean ignore.

    Raises:
        ConfigError: a map that does not hold or contradicts the rest.
    """

    names: tuple[str, ...]
    encoding: Literal["auto", "id", "rgb"] = "auto"
    map: Mapping[str, int | str] | None = None
    reduce_zero_label: bool = False
    origin: str = "data.masks"
    map_key: str = "data.masks.map"
    ignore: tuple[str, ...] = ()
    _table: _LookupTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_table", self._build_table())

    @classmethod
    def from_config(cls, config: MaskConfig, vocabulary: Vocabulary) -> Self:
        """Reader of the configuration section `data.masks`."""
        return cls(vocabulary.names, config.encoding, config.map, config.reduce_zero_label, ignore=vocabulary.ignore)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def by_color(self) -> bool:
        """Whether files are read as colours."""
        return self._table.ranks is not None

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        """Read one mask.

        Raises:
            DataError: unreadable, lossy, colours without a map, or values that are no class (value and pixel count are
            named).
        """
        return self.read(path)[0]

    def read(self, path: Path) -> tuple[NDArray[np.uint8], StoredMask]:
        """Read one mask, and what its file holds; errors are those of a call.

        A value that the file itself declares as no data (GDAL's tag) is ignored, unless it is a class.
        """
        stored = self._read_stored(path)
        values = stored.values
        quick = self._table.look_up_bytes(values)
        if quick is not None:
            return quick, stored
        ids = self._table(values)
        if stored.nodata is not None:
            ids[(ids == _UNKNOWN) & (values == stored.nodata)] = IGNORE
        if ids.min(initial=0) < 0:
            counts = count_values(values)
            if stored.nodata is not None and self.find_class(stored.nodata) is None:
                del counts[(stored.nodata,)]
            raise ForeignValuesError(self._describe_unknown(path, counts), counts, kind="values")
        return ids.astype(np.uint8), stored

    def find_class(self, value: int) -> int | None:
        """Find the class of a value in files that are not read by colour; None if it is ignored or unknown."""
        (found,) = self._table(np.array([value], np.int64)).tolist()
        return None if found in {_UNKNOWN, IGNORE} else found

    def _read_stored(self, path: Path) -> StoredMask:
        stored = read_stored_mask(path, colors=self.by_color)
        values = stored.values
        if values.ndim == 3 and not self.by_color:
            counts = count_values(values)
            raise ForeignValuesError(self._describe_colors(path, counts), counts, kind="colors")
        return stored

    def _describe_colors(self, path: Path, counts: Counter[Key]) -> str:
        common = [format_key(color) for color, _ in counts.most_common(3)]
        what = f"{path}: a colour mask, its commonest colours are {'; '.join(common)}"
        if self.map is not None:
            return f"{what}; class ids (an 8-bit PNG) are expected by {self.origin}"
        meant = f"{{'{common[0]}': {self.names[0]}, '{common[-1]}': ignore}}"
        return f"{what}; name them in {self.map_key}, for example {meant}"

    def _describe_unknown(self, path: Path, counts: Counter[Key]) -> str:
        keys = np.array([*counts])
        ids = self._table(keys if self.by_color else keys[:, 0])
        unknown = [key for key, known in zip(counts, ids != _UNKNOWN, strict=True) if not known]
        shown = [f"{format_key(key)} ({counts[key]:,} pixels)" for key in unknown[:5]]
        more = f" and {len(unknown) - 5} more values" if len(unknown) > 5 else ""
        legal = "the values of the map" if self.map is not None else self._describe_legal()
        return f"{path}: mask values {', '.join(shown)}{more} are not among {legal}; {self._suggest_fix(unknown)}"

    def _describe_legal(self) -> str:
        first, last = (1, self.num_classes) if self.reduce_zero_label else (0, self.num_classes - 1)
        return f"0..{last} and 255 = ignore" if first == 0 else f"0 = ignore, {first}..{last} and 255 = ignore"

    def _suggest_fix(self, unknown: Sequence[Key]) -> str:
        if self.map is not None:
            return f"add them to {self.map_key}"
        if all(value < 0 for value, *_ in unknown):
            meant = f"{{'0': {self.names[0]}, …, '{format_key(unknown[0])}': ignore}}"
            return f"do they mean 'no data'? then name every value in {self.map_key}, like {meant}"
        if not self.reduce_zero_label and unknown == [(self.num_classes,)]:
            return "is 0 'no class' here? then set data.masks.reduce_zero_label=true; else check the class list"
        return f"check the class list, or say what each value means in {self.map_key} (value: class name or ignore)"

    def _build_table(self) -> _LookupTable:
        if self.map is None:
            if self.encoding == "rgb":
                raise ConfigError(
                    "data.masks.encoding: rgb needs data.masks.map, like {'128,64,0': road, '0,0,0': ignore}"
                )
            return _LookupTable(self._build_identity())
        if self.reduce_zero_label:
            raise ConfigError("data.masks: give either map or reduce_zero_label; a map can say '0: ignore' itself")
        keys = {key: _parse_key(key) for key in self.map}
        targets = {parsed: self._resolve_target(key, self.map[key]) for key, parsed in keys.items()}
        lengths = {len(parsed) for parsed in targets}
        if len(targets) != len(keys) or len(lengths) != 1:
            raise ConfigError("data.masks.map: keys must be all ids ('7') or all colours ('128,64,0'), each once")
        if (lengths == {3}) != (self.encoding == "rgb") and self.encoding != "auto":
            raise ConfigError(f"data.masks: encoding {self.encoding} does not fit the keys of data.masks.map")
        return _build_color_table(targets) if lengths == {3} else _build_id_table(targets)

    def _build_identity(self) -> NDArray[np.int16]:
        ids = np.full(_DEEPEST + 1, _UNKNOWN, np.int16)  # the last stands for all deeper values
        first = 1 if self.reduce_zero_label else 0
        ids[first : first + self.num_classes] = np.arange(self.num_classes)
        ids[[0, IGNORE] if self.reduce_zero_label else [IGNORE]] = IGNORE
        return ids

    def _resolve_target(self, key: str, target: int | str) -> int:
        text = str(target).strip()
        if text in self.names:
            return self.names.index(text)
        if text == "ignore" or text in self.ignore:
            return IGNORE
        if text.isascii() and text.isdigit():
            if int(text) < self.num_classes or int(text) == IGNORE:
                return int(text)
            raise ConfigError(f"data.masks.map: '{key}' -> {text}, but class ids end at {self.num_classes - 1}")
        raise ConfigError(f"data.masks.map: '{key}' -> '{text}': no such class{did_you_mean(text, self.names)}")


def _parse_key(key: str) -> tuple[int, ...]:
    if (text := str(key).strip().lower()) in {"nan", ".nan"}:
        return (NAN,)
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return (int(text),)
    parts = [part.strip() for part in str(key).strip("()[] ").split(",")]
    if len(parts) in {1, 3} and all(re.fullmatch("[0-9]{1,5}", part) for part in parts) and max(map(int, parts)) < 256:
        return tuple(int(part) for part in parts)
    raise ConfigError(f"data.masks.map: key '{key}' is neither a value like '7' nor a colour like '128,64,0'")


def _build_id_table(targets: Mapping[tuple[int, ...], int]) -> _LookupTable:
    ids = np.full(_DEEPEST + 1, _UNKNOWN, np.int16)
    ids[IGNORE] = IGNORE
    far = {value: target for (value,), target in targets.items() if not 0 <= value < _DEEPEST}
    for (value,), target in targets.items():
        if value not in far:
            ids[value] = target
    return _LookupTable(ids, far)


def _build_color_table(targets: Mapping[tuple[int, ...], int]) -> _LookupTable:
    """Build the table of colours: rank 0 of a channel means 'in no colour of the map'; `ids` has all combinations of
    ranks.
    """
    levels = [np.unique([color[channel] for color in targets]) for channel in range(3)]
    strides = (
        (len(levels[1]) + 1) * (len(levels[2]) + 1),
        len(levels[2]) + 1,
        1,
    )
    ranks = np.zeros((3, 256), np.int32)
    for channel, stride in enumerate(strides):
        ranks[channel, levels[channel]] = np.arange(1, len(levels[channel]) + 1) * stride
    ids = np.full((len(levels[0]) + 1) * strides[0], _UNKNOWN, np.int16)
    for color, target in targets.items():
        ids[sum(int(ranks[channel, color[channel]]) for channel in range(3))] = target
    return _LookupTable(ids, ranks=ranks)


def find_ids(mask: NDArray[np.uint8]) -> Sequence[int]:
    """Find the values in a mask returned by `MaskReader`, ascending."""
    present: list[int] = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()
    return present
