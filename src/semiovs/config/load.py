"""Load a preset or file with ``key=value`` arguments as a frozen, validated configuration with the origin of each
value.

Precedence: schema defaults < sources named by ``extends:`` < the file itself < those of ``extends=…`` < ``key=value``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from semiovs.config.error_messages import explain_validation, find_unknown, raise_problems
from semiovs.config.layers import (
    COMMAND_LINE,
    DEFAULT,
    MEASURED,
    PYTHON,
    Layer,
    LayerReader,
    Leaf,
    join_key,
    nest_layer,
    overlay_layer,
    sections,
)
from semiovs.config.paths import resolve_paths
from semiovs.config.schema import Config
from semiovs.config.sources import find_source, make_source
from semiovs.config.yaml_reader import format_inline
from semiovs.errors import UsageError
from semiovs.registry import METHODS, SEGMENTERS


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration with its provenance.

    config: frozen and valid, with every option of model and method; origins: dotted key -> ``default``, ``preset
    pascal/92``, ``my.yaml:12`` or ``command line``, one for each value; text: the YAML text of the source, as it was
    read.
    """

    config: Config
    origins: dict[str, str]
    text: str = ""

    def values(self) -> dict[str, Any]:
        """Dotted key -> value, in the order of the schema."""
        return flatten(self.config)

    def replace_measured(self, config: Config) -> LoadedConfig:
        """Return it with `config`, in which values were filled in that the program measured."""
        before, after = flatten(self.config), flatten(config)
        news = {key: MEASURED for key, value in after.items() if key not in before or before[key] != value}
        return replace(self, config=config, origins={**self.origins, **news})

    def dump(self, *, origins: bool = True) -> str:
        """The whole configuration as YAML, the origin of each value beside it; `load_config` reads it back."""
        lines: list[str] = []
        _dump_section(self.config.model_dump(), "", self.origins if origins else {}, lines)
        return "\n".join(lines) + "\n"


def load_config(
    source: str | Mapping[str, Any] | None,
    overrides: Sequence[str] = (),
    *,
    cwd: Path | None = None,
    origin: str = COMMAND_LINE,
) -> LoadedConfig:
    """Load a preset (``pascal/92``), a YAML file, a run directory or a mapping, with ``key=value`` arguments on top.

    ``extends=NAME`` (or a list) among the arguments lays further presets or files over `source`: a method's recipe over
    a split.

    source: None for the schema's defaults; cwd: start of relative paths on the command line, the working directory by
    default; origin: of the arguments, COMMAND_LINE or PYTHON.

    Raises:
        ConfigError: all that is wrong, one line a problem with key, file and line.
    """
    cwd = Path(os.path.abspath(cwd or Path.cwd()))  # noqa: PTH100 - links in the path are kept
    reader = LayerReader(cwd, origin)
    layer: Layer = {}
    text = ""
    if source is not None:
        found = find_source(source, folder=cwd, cwd=cwd) if isinstance(source, str) else make_source(source, PYTHON)
        layer, text = reader.read_chain(found), found.text
        layer.setdefault("run.name", Leaf(found.name))
    further, values = reader.split_extends(overrides)
    for name in further:
        layer = overlay_layer(
            layer, reader.read_chain(find_source(name, folder=cwd, cwd=cwd, where=f" (extends) {reader.where}"))
        )
    layer = overlay_layer(layer, reader.read_command_line(values))
    problems = list(reader.problems)
    for path, problem in list(find_unknown(layer)):
        problems.append(problem)
        del layer[path]
    layer = resolve_paths(layer, cwd)
    config = _validate(_fill_options(layer), problems)
    given = {path: leaf.origin for path, leaf in layer.items()}
    return LoadedConfig(config, {path: given.get(path, DEFAULT) for path in flatten(config)}, text)


def _validate(layer: Layer, problems: list[str]) -> Config:
    config = None
    try:
        config = Config.model_validate(nest_layer(layer))
    except ValidationError as error:
        problems = [*problems, *explain_validation(error, layer)]
    except UsageError as error:  # a check of the schema that `unknown` does not know
        problems = [*problems, f"config: {error}"]
    raise_problems(problems)
    assert config is not None
    return config


def _fill_options(layer: Layer) -> Layer:
    """Add the defaults of the options of model and method to the layer; null means the default too."""
    result = dict(layer)
    for section, table in (("model", SEGMENTERS), ("method", METHODS)):
        name = result.get(f"{section}.name", Leaf(sections()[section].model_fields["name"].default)).value
        for option, default in table[name].defaults.items() if isinstance(name, str) else ():
            path = f"{section}.{option}"
            if path not in result or result[path].value is None:
                origin = result[path].origin if path in result else DEFAULT
                result[path] = Leaf(list(default) if isinstance(default, tuple) else default, origin)
    return result


def flatten(config: Config) -> dict[str, Any]:
    """Dotted key -> value, in the order of the schema; an absent section is one None."""
    result: dict[str, Any] = {}

    def walk(model: BaseModel, path: str) -> None:
        for name, value in model:
            key = join_key(path, name)
            if isinstance(value, BaseModel):
                walk(value, key)
            else:
                result[key] = value

    walk(config, "")
    return result


def _dump_section(data: Mapping[str, Any], section: str, origins: Mapping[str, str], lines: list[str]) -> None:
    indent = "  " * (section.count(".") + 1 if section else 0)
    for name, value in data.items():
        path = join_key(section, name)
        if path in sections() and value is not None:
            lines.append(f"{indent}{name}:")
            _dump_section(value, path, origins, lines)
        else:
            plain = list(value) if isinstance(value, tuple) else value
            text = f"{indent}{format_inline(name)}: {format_inline(plain)}"
            lines.append(f"{text:<48}  # {origins[path]}" if path in origins else text)


@dataclass(frozen=True)
class Difference:
    """A key whose values differ; ABSENT is the value of a missing key."""

    key: str
    left: Any
    right: Any


ABSENT = "(absent)"


def find_differences(left: LoadedConfig, right: LoadedConfig) -> list[Difference]:
    """Find the keys whose values differ, in the order of the schema."""
    a, b = left.values(), right.values()
    pairs = ((key, a.get(key, ABSENT), b.get(key, ABSENT)) for key in {**a, **b})
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


def split_source(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Command-line arguments ``[SOURCE] [key=value …]`` -> (source or None, overrides)."""
    if arguments and ("=" not in arguments[0] or os.path.isfile(arguments[0])):  # noqa: PTH113 - never raises
        return arguments[0], list(arguments[1:])
    return None, list(arguments)
