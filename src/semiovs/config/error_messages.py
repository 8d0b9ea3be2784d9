"""Messages about invalid configurations, one line per problem: ``config: KEY: WHAT in FILE:LINE``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from semiovs.config.layers import COMMAND_LINE, DEFAULT, PYTHON, SHORT, Layer, Leaf, join_key, sections, split_key
from semiovs.errors import ConfigError, did_you_mean
from semiovs.registry import DATASETS, METHODS, SEGMENTERS, Option, RegistryTable

#: Largest number of lines of one error message.
MOST = 10
#: Unknown keys for which a known one is looked for.
_SUGGESTED = 100

#: Key -> word for what it names, and the table of its possible values.
NAMES: Mapping[str, tuple[str, RegistryTable]] = {
    "data.name": ("data set", DATASETS),
    "model.name": ("segmenter", SEGMENTERS),
    "method.name": ("method", METHODS),
}

#: Options of methods that are probabilities.
_PROBABILITIES = frozenset({"conf_thresh", "thresh_quantile", "thresh_floor", "label_smoothing"})

_EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
    "model": "keys with values",
    "finite": "a finite number",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def raise_problems(problems: Iterable[str]) -> None:
    """Raise one ConfigError for all `problems`; do nothing if there are none."""
    if lines := list(problems):
        raise join_problems(lines, "config")


def join_problems(problems: Iterable[str], subject: str) -> ConfigError:
    """Build one error for all `problems`, with at most `MOST` lines. subject: the word that each line begins with."""
    lines = list(dict.fromkeys(problems))
    if len(lines) > MOST:
        lines[MOST - 1 :] = [f"{subject}: … and {len(lines) - MOST + 1} more problems"]
    return ConfigError("\n".join(lines))


def format_problem(path: str, what: str, leaf: Leaf | None) -> str:
    """Format one problem as a line."""
    origin = DEFAULT if leaf is None else leaf.origin
    where = {DEFAULT: "", COMMAND_LINE: " on the command line"}.get(origin, f" in {origin}")
    return f"config: {path}: {what}{where}"


def format_value(value: Any) -> str:
    """Format a value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def find_unknown(layer: Layer) -> Iterator[tuple[str, str]]:
    """Find keys, names and options that do not exist: (the key in `layer`, the problem)."""
    unknown = 0
    for path, leaf in layer.items():
        section, key = split_key(path)
        if path in sections():
            if leaf.value is not None:
                example = f"; write {SHORT[path]}: …" if path in SHORT else ""
                yield (
                    path,
                    format_problem(path, f"expected keys with values, got {format_value(leaf.value)}{example}", leaf),
                )
        elif key in sections()[section].model_fields:
            kind, table = NAMES.get(path, ("", None))
            if table is not None and not (isinstance(leaf.value, str) and leaf.value in table):
                yield (
                    path,
                    format_problem(
                        path, f"unknown {kind} {format_value(leaf.value)}{_suggest_name(leaf.value, table)}", leaf
                    ),
                )
        elif join_key(section, "name") in NAMES and section in ("model", "method"):
            what = _check_option(section, key, layer)
            if what:
                yield path, format_problem(path, what, leaf)
        else:
            wrong = key.split(".", 1)[0]
            whole = wrong in sections()[section].model_fields
            unknown += 1  # thousands are another file: no time is spent on what each of them may mean
            hint = _suggest_key(section, wrong, key) if unknown <= _SUGGESTED else ""
            what = "it is one value, give it whole" if whole else f"unknown key{hint}"
            yield path, format_problem(join_key(section, wrong), what, leaf)


def _suggest_name(value: Any, table: Iterable[str]) -> str:
    return did_you_mean(str(value), table)


def _check_option(section: str, key: str, layer: Layer) -> str | None:
    """Check an option of the model or the method: the problem, or None, also if its owner is unknown."""
    name_key = join_key(section, "name")
    kind, table = NAMES[name_key]
    name = layer[name_key].value if name_key in layer else sections()[section].model_fields["name"].default
    entry = table.get(name) if isinstance(name, str) else None
    if entry is None:
        return None
    if key not in entry.options:
        declared = [k for k in sections()[section].model_fields if k != "name"]
        return f"{kind} '{name}' has no such option{did_you_mean(key, [*entry.options, *declared])}"
    value, option = layer[join_key(section, key)].value, entry.options[key]
    if section == "method" and key in _PROBABILITIES:
        return _check_probability(value, option)
    expected = option.explain_mismatch(value)
    return f"expected {expected}, got {format_value(value)}" if expected else None


def _check_probability(value: Any, option: Option) -> str | None:
    """Check an option that is a probability, or, if it takes a list, one per class: the problem or None."""
    numbers = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if option.explain_mismatch(value) or not all(type(number) in (int, float) for number in numbers):
        return (
            f"expected a number{', or a list with one a class' if option.takes_list else ''}, got {format_value(value)}"
        )
    wrong = [number for number in numbers if not 0 <= number <= 1]
    return f"must be from 0 to 1, got {format_value(wrong[0])}" if wrong else None


def _suggest_key(section: str, wrong: str, key: str) -> str:
    """Suggest the nearest key of the section, else the same key in another section, else all keys of the section."""
    fields = sections()[section].model_fields
    near = did_you_mean(wrong, fields)
    if near.startswith(" (did"):
        return near
    every = {name: join_key(path, name) for path, model in sections().items() for name in model.model_fields}
    for word in (wrong, key.rpartition(".")[2]):
        match = difflib.get_close_matches(word, every, n=1, cutoff=0.75)
        if match:
            return f" (did you mean '{every[match[0]]}'?)"
    return near


def explain_validation(error: ValidationError, layer: Layer) -> Iterator[str]:
    """Format the problems found by the schema, one line per key."""
    grouped: dict[str, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        grouped.setdefault(_dotted_key(details["loc"]), []).append(details)
    for path, every in grouped.items():
        group = [details for details in every if details["type"] != "too_short"] or every  # it does not count bad items
        messages = [_describe_error(details) for details in group]
        if {"literal_error"} < {details["type"] for details in group}:  # a word beside other kinds of values
            messages = [
                f"expected {details['ctx']['expected']}" if details["type"] == "literal_error" else message
                for details, message in zip(group, messages, strict=True)
            ]
        expected = [m.removeprefix("expected ") for m in messages if m.startswith("expected ")]
        if len(expected) == len(messages):
            what = f"expected {' or '.join(dict.fromkeys(expected))}, got {format_value(group[0]['input'])}"
        else:
            what = next(m for m in messages if not m.startswith("expected "))
        yield _locate_problem(path, what, layer)


def _locate_problem(path: str, what: str, layer: Layer) -> str:
    """Add the place to a problem; that of a whole section is the place of its first key, unless it names a key (``key:
    …``).
    """
    named, colon, rest = what.partition(": ")
    if path in sections():
        if colon and named == path:
            what = rest
        elif (
            colon
            and split_key(join_key(path, named))[1] in sections()[split_key(join_key(path, named))[0]].model_fields
        ):
            path, what = join_key(path, named), rest
    given = [p for p in layer if p == path or p.startswith(f"{path}.")]
    mentioned = [p for p in given if p.rpartition(".")[2] in what] or given
    last = next((p for p in mentioned if layer[p].origin in (COMMAND_LINE, PYTHON)), mentioned[-1] if mentioned else "")
    return format_problem(path, what, layer.get(last))


def _dotted_key(loc: tuple[int | str, ...]) -> str:
    """Convert pydantic's location to a dotted key, without indices and union members."""
    path = ""
    for part in loc:
        if path and path not in sections():
            break
        path = join_key(path, str(part))
    return path


def explain_error(details: ErrorDetails) -> str:
    """Explain an error of pydantic about one value."""
    message = _describe_error(details)
    bare = message.startswith("expected ") and details["type"] != "value_error"
    return f"{message}, got {format_value(details['input'])}" if bare else message


def _describe_error(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        near = did_you_mean(str(details["input"]), re.findall(r"'([^']*)'", context["expected"]))
        hint = near if near.startswith(" (did") else ""
        return f"must be {context['expected']}, got {format_value(details['input'])}{hint}"
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"must be {word} {context[key]:g}, got {format_value(details['input'])}"
    for start, expected in _EXPECTED.items():
        if kind.startswith(f"{start}_"):
            return f"expected {expected}"
    return f"{details['msg'][0].lower()}{details['msg'][1:]}, got {format_value(details['input'])}"
