"""Compact coding of the lists of one data set: all distinct lines once, and lists as indices (12 MB become 150 KB).

Lines differ in their numbers alone, so a line is a template and its numbers; sorted numbers are kept as differences. A
list is ``rise`` (sorted; differences of its indices), ``pick`` (indices in the order of the file) or ``from`` (the
lines of another list in its order, without those of a third). The order of an unlabelled list is stored only if other
lists can be derived from it; otherwise its lines are decoded sorted.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from semiovs.datasets.splits import LABELED, UNLABELED
from semiovs.errors import DataError

_FORMAT = 1
_NUMBER = re.compile(r"([0-9]{4,})")
#: The order of an unlabelled list is stored only if at least this many other lists can be derived from it.
_FOLLOWERS = 2

Lists = Mapping[str, Sequence[str]]
_Coded = dict[str, dict[str, Any]]


def encode(lists: Lists) -> bytes:
    """Encode lists (name -> lines) as a small file."""
    universe = sorted({line for lines in lists.values() for line in lines})
    groups, order = _group_lines(universe)
    document = {
        "format": _FORMAT,
        "groups": groups,
        "lists": _encode_lists(lists, {line: i for i, line in enumerate(order)}),
    }
    return lzma.compress(json.dumps(document, separators=(",", ":")).encode(), preset=9)


def decode(data: bytes) -> dict[str, list[str]]:
    """Decode what `encode` wrote; unlabelled lists whose order was not stored are sorted.

    Raises:
        DataError: damaged.
    """
    try:
        document = json.loads(lzma.decompress(data))
        if document["format"] != _FORMAT:
            raise DataError(f"format {document['format']}, not {_FORMAT}")
        order = [line for group in document["groups"] for line in _expand_lines(group)]
        lists: dict[str, list[str]] = {}
        for name, code in document["lists"].items():
            lists[name] = _decode_list(code, order, lists)
        return lists
    except (lzma.LZMAError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"damaged ({type(error).__name__})") from None


def _decode_list(code: Mapping[str, Any], order: Sequence[str], lists: Lists) -> list[str]:
    if "from" in code:
        gone = set(lists[code["without"]])
        return [line for line in lists[code["from"]] if line not in gone]
    if "pick" in code:
        return [order[index] for index in code["pick"]]
    return sorted(order[index] for index in accumulate(code["rise"]))


def _group_lines(universe: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Lines by template, as columns of differences, and the lines in the order of the groups."""
    rows: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for line in universe:
        numbers: dict[str, int] = {}
        parts = _NUMBER.split(line.replace("{", "{{").replace("}", "}}"))
        for place in range(1, len(parts), 2):
            column = numbers.setdefault(parts[place], len(numbers))
            parts[place] = f"{{{column}:0{len(parts[place])}d}}"
        rows.setdefault("".join(parts), []).append((tuple(map(int, numbers)), line))
    groups, order = [], []
    for template, members in rows.items():
        members.sort()
        columns = zip(*(numbers for numbers, _ in members), strict=True)
        groups.append(
            {"line": template, "count": len(members), "columns": [_take_differences(column) for column in columns]}
        )
        order += [line for _, line in members]
    return groups, order


def _expand_lines(group: Mapping[str, Any]) -> list[str]:
    if not group["columns"]:
        return [group["line"].format()] * group["count"]
    columns = (accumulate(column) for column in group["columns"])
    return [group["line"].format(*numbers) for numbers in zip(*columns, strict=True)]


def _take_differences(numbers: Sequence[int]) -> list[int]:
    return [*numbers[:1], *(b - a for a, b in pairwise(numbers))]


def _encode_lists(lists: Lists, index: Mapping[str, int]) -> _Coded:
    bare = sorted((name for name in lists if name.endswith(UNLABELED)), key=lambda name: (-len(lists[name]), name))
    coded: _Coded = {name: _encode_in_order(lists[name], index) for name in lists if name not in bare}
    bases: list[str] = []
    for name in bare:
        lines, partner = lists[name], name.removesuffix(UNLABELED) + LABELED
        base = next((base for base in bases if partner in lists and _follows(lines, base, partner, lists)), None)
        if base is not None:
            coded[name] = {"from": base, "without": partner}
        elif sorted(lines) != list(lines) and _count_followers(name, bare, lists) >= _FOLLOWERS:
            bases.append(name)
            coded[name] = _encode_in_order(lines, index)
        else:
            coded[name] = _encode_sorted(lines, index)
    return coded


def _encode_in_order(lines: Sequence[str], index: Mapping[str, int]) -> dict[str, Any]:
    return _encode_sorted(lines, index) if list(lines) == sorted(lines) else {"pick": [index[line] for line in lines]}


def _encode_sorted(lines: Sequence[str], index: Mapping[str, int]) -> dict[str, Any]:
    return {"rise": _take_differences(sorted(index[line] for line in lines))}


def _follows(lines: Sequence[str], base: str, partner: str, lists: Lists) -> bool:
    gone = set(lists[partner])
    return list(lines) == [line for line in lists[base] if line not in gone]


def _count_followers(base: str, bare: Sequence[str], lists: Lists) -> int:
    others = ((name, name.removesuffix(UNLABELED) + LABELED) for name in bare if name != base)
    return sum(partner in lists and _follows(lists[name], base, partner, lists) for name, partner in others)
