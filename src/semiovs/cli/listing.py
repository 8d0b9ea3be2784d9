"""``semiovs list``: everything that can be named in a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from semiovs.cli.console import Json, report, table
from semiovs.registry import DATASETS, METHODS, SEGMENTERS, TEACHERS

Row = dict[str, Any]


class Kind(StrEnum):
    """What to list."""

    METHODS = "methods"
    SEGMENTERS = "segmenters"
    TEACHERS = "teachers"
    ENCODERS = "encoders"
    DATASETS = "datasets"
    VOCABULARIES = "vocabularies"
    PRESETS = "presets"


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")], as_json: Json = False) -> None:
    """List what can be named in a configuration, with options and their defaults."""
    rows = ROWS[kind]()
    shown = [(row["name"], _what(row), _options(row.get("options", {}))) for row in rows]
    with_options = any(options for _, _, options in shown)
    columns = ["name", "what", "options"] if with_options else ["name", "what"]
    report(rows, as_json=as_json, text=table(columns, [row[: len(columns)] for row in shown]))


def _what(row: Row) -> str:
    """The summary; a plug-in's with the package that brings it, or what is wrong with it."""
    summary = str(row.get("problem", row.get("summary", "")))
    return f"{summary} (from {row['package']})" if "package" in row and "problem" not in row else summary


def _options(options: Mapping[str, Any]) -> str:
    from semiovs.config.yaml_reader import format_inline

    return ", ".join(f"{k}={format_inline(list(v) if isinstance(v, tuple) else v)}" for k, v in options.items())


def _presets() -> list[Row]:
    from semiovs.config.sources import list_presets

    return [{"name": name, "summary": summary} for name, summary in list_presets().items()]


def _vocabularies() -> list[Row]:
    from semiovs.vocab import Vocabulary, shipped_vocabularies

    loaded = {name: Vocabulary.load(name) for name in shipped_vocabularies()}
    return [
        {
            "name": name,
            "summary": f"{len(v)} classes, {len(v.prompts)} concepts: {', '.join(v.names[:4])}, …",
            "classes": len(v),
            "concepts": len(v.prompts),
            "hash": v.hash,
        }
        for name, v in loaded.items()
    ]


def _encoders() -> list[Row]:
    from semiovs.models.encoders import encoder_names

    own = {"tiny": "ours, for tests and demonstrations", "xception65": "ours, as in the COCO recipes"}
    return [{"name": name, "summary": own.get(name, "timm")} for name in encoder_names()]


ROWS: Mapping[Kind, Callable[[], list[Row]]] = {
    Kind.METHODS: METHODS.as_json,
    Kind.SEGMENTERS: SEGMENTERS.as_json,
    Kind.TEACHERS: TEACHERS.as_json,
    Kind.ENCODERS: _encoders,
    Kind.DATASETS: DATASETS.as_json,
    Kind.VOCABULARIES: _vocabularies,
    Kind.PRESETS: _presets,
}
