"""Spoil what a text means, not its letters: values of JSON and YAML, attributes of XML."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

import yaml

#: Values that stand where others belong.
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    255,
    256,
    7.5,
    -0.0,
    1e-320,
    2**31,
    2**63,
    10**30,
    -(10**400),
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    " ",
    "a",
    "0",
    "-1",
    "1e999",
    "nan",
    "../../x",
    "/etc/passwd",
    "a.jpg",
    "\0",
    "\n",
    "\x1b[31m",
    "\u202e",
    "\ud800",
    "ü" * 300,
    "a" * 70_000,
    "=1+1",
    "<script>",
    "{}",
    "${x}",
    [],
    {},
    [[]],
    [None],
    [[[]]],
    {"a": 1},
    {"": {}},
    [1, 2, 3],
    [[1, 2], [3]],
    [0] * 3000,
    ["a", 1, None, {}],
    {"__class__": "x"},
    {"size": [10**9, 10**9], "counts": [10**18]},
    {"size": [6, 8], "counts": "é~~~~"},
)
_DEEP = 3000


def list_places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a value, itself first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, each in inner for place in list_places(each, (*above, key)))]


def change_value(data: Any, draw: Random) -> Any:
    """Replace, remove, repeat, rename or swap values in plain data."""
    box = [deepcopy(data)]
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        places = list_places(box)[1:]
        *above, key = draw.choice(places)
        holder: Any = box
        for step in above:
            holder = holder[step]
        _change(holder, key, draw)
        if not box:
            return None
    return box[0]


def _change(holder: Any, key: Any, draw: Random) -> None:
    kind = draw.random()
    if kind < 0.55:
        holder[key] = deepcopy(draw.choice(VALUES))
    elif kind < 0.7:
        del holder[key]
    elif kind < 0.8 and isinstance(holder, list):
        holder[key:key] = [holder[key]] * draw.choice((1, 3, 200))
    elif kind < 0.9 and isinstance(holder, dict):
        holder[str(draw.choice(VALUES))[:9000]] = holder.pop(key)
    else:
        holder[key] = {"x": holder[key]} if draw.random() < 0.5 else [holder[key]]


def _dump(data: Any, draw: Random) -> str:
    text = json.dumps(data, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.15:  # a key twice
        text = re.sub(r'("\w+"): ', lambda found: f"{found[0]}0, {found[0]}", text, count=draw.randrange(1, 4))
    if draw.random() < 0.1:
        numbers = list(re.finditer(r"-?\d+(\.\d+)?", text))
        if numbers:
            one = draw.choice(numbers)
            worse = draw.choice(
                ("1e999", "-1e999", "9" * 5000, "1e-999", "0.1e5", "-0", "007", "+1", "NaN", "Infinity")
            )
            text = text[: one.start()] + worse + text[one.end() :]
    if draw.random() < 0.05:
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(("[", '{"a":')) * _DEEP + text[at:]
    return text


def change_json(seeds: Sequence[bytes], draw: Random) -> bytes:
    """JSON with values that do not belong where they stand."""
    try:
        data = json.loads(draw.choice(seeds))
    except (ValueError, RecursionError):
        data = {}
    return _dump(change_value(data, draw), draw).encode("utf-8", "surrogatepass")


def change_json_line(seeds: Sequence[bytes], draw: Random) -> bytes:
    """JSON lines of which one is changed."""
    lines = draw.choice(seeds).split(b"\n")
    at = draw.randrange(len(lines))
    lines[at] = change_json([lines[at]], draw)
    return b"\n".join(lines)


def change_yaml(seeds: Sequence[bytes], draw: Random) -> bytes:
    """YAML with values that do not belong where they stand; at times with anchors and aliases."""
    try:
        data = yaml.safe_load(draw.choice(seeds))
    except (ValueError, RecursionError, yaml.YAMLError):
        data = {}
    changed = change_value(data, draw)
    if draw.random() < 0.3:
        return _dump(changed, draw).encode("utf-8", "surrogatepass")
    if draw.random() < 0.2:
        shared = draw.choice(VALUES)
        changed = {"a": changed, "b": [shared, shared], "c": changed}
    flow = draw.choice((None, True, False))
    return yaml.safe_dump(changed, default_flow_style=flow, allow_unicode=True).encode("utf-8", "surrogatepass")


def change_xml(seeds: Sequence[bytes], draw: Random) -> bytes:
    """XML with another attribute, tag or text."""
    text = draw.choice(seeds).decode("utf-8", "replace")
    for _ in range(draw.choice((1, 1, 2, 4))):
        parts = list(re.finditer(draw.choice((r'"[^"]*"', r">[^<]*<", r"<\w+", r"\w+=")), text))
        if not parts:
            continue
        one, value = draw.choice(parts), str(draw.choice(VALUES))[:9000]
        told = {'"': f'"{value}"', ">": f">{value}<", "<": "<x"}.get(one[0][0], "y=")
        text = text[: one.start()] + draw.choice((told, told, "", one[0] * 2)) + text[one.end() :]
    return text.encode("utf-8", "surrogatepass")
