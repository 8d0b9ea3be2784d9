"""Options of methods, segmenters and teachers: default, type, and a check of values."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    dict: "keys with values",
    Mapping: "keys with values",
}
_LISTS = (list, tuple, Sequence)


@dataclass(frozen=True)
class Option:
    """One keyword of a signature: its default, and its type, such as ``float | None`` (Any where none can be read)."""

    default: Any
    type: Any = Any

    def explain_mismatch(self, value: Any) -> str | None:
        """Say what type is expected if `value` has another one; None if it fits (None itself means the default)."""
        kinds = self.kinds
        if value is None or any(_is_of_type(value, kind) for kind in kinds):
            return None
        return " or ".join(dict.fromkeys(self._describe_kind(kind) for kind in kinds))

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types of values that it takes, None left out."""
        return _union_members(self.type)

    @property
    def takes_list(self) -> bool:
        """Whether a list is among the values that it takes."""
        return any(_type_origin(kind) in _LISTS for kind in self.kinds)

    @property
    def takes_rows(self) -> bool:
        """Whether a list of mappings is among them, of which its reader knows more than their type."""
        inner = [typing.get_args(kind) for kind in self.kinds if _type_origin(kind) in _LISTS]
        return any(_type_origin(args[0]) in (dict, Mapping) for args in inner if args)

    def _describe_kind(self, kind: Any) -> str:
        origin, inner = _type_origin(kind), typing.get_args(kind)
        if origin is Literal:
            return " or ".join(repr(value) for value in inner)
        if origin not in _LISTS:
            return _WORDS.get(origin, "text")
        example = list(self.default) if isinstance(self.default, list | tuple) else []
        return f"a list like {example or [{float: 1.0, int: 1}.get(inner[0] if inner else str, '…')]}"


def _union_members(kind: Any) -> tuple[Any, ...]:
    """The members of a union, None left out."""
    union = isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union
    return tuple(member for member in (typing.get_args(kind) if union else (kind,)) if member is not NoneType)


def _type_origin(kind: Any) -> Any:
    return typing.get_origin(kind) or kind


def _is_of_type(value: Any, kind: Any) -> bool:
    """Whether `value` is of the type, as far as its name is known here."""
    origin, inner = _type_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return value in inner
    if origin in (int, float):
        numbers = (int, float) if origin is float else int
        return isinstance(value, numbers) and not isinstance(value, bool)
    if origin in (str, Path):
        return isinstance(value, str | Path)
    if origin in _LISTS:
        items = _union_members(inner[0]) if inner else (Any,)
        return isinstance(value, list | tuple) and all(any(_is_of_type(item, one) for one in items) for item in value)
    return isinstance(value, origin) if origin in (bool, dict, Mapping) else True
