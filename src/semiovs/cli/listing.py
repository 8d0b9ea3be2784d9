"""``semiovs list``: list everything that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, report
from semiovs.registry import DATASETS, LOGGERS, METHODS, SEGMENTERS, TEACHERS

Row = dict[str, Any]


class Kind(StrEnum):
    """What to list."""

    METHODS = "methods"
    SEGMENTERS = "segmenters"
    TEACHERS = "teachers"
    ENCODERS = "encoders"
    DATASETS = "datasets"
    LOGGERS = "loggers"
    VOCABULARIES = "vocabularies"
    PRESETS = "presets"


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")], as_json: Json = False) -> None:
    """List what can be named in a configuration, with options and their defaults."""
    rows = ROWS[kind]()
    shown = [(row["name"], _describe_row(row), _format_options(row.get("options", {}))) for row in rows]
    with_options = any(options for _, _, options in shown)
    columns = ["name", "what", "options"] if with_options else ["name", "what"]
    report(rows, as_json=as_json, text=format_table(columns, [row[: len(columns)] for row in shown]))


def _describe_row(row: Row) -> str:
    """Summary of a row; for plug-ins with their package, or the error if they cannot be used."""
    summary = str(row.get("problem", row.get("summary", "")))
    return f"{summary} (from {row['package']})" if "package" in row and "problem" not in row else summary


def _format_options(options: Mapping[str, Any]) -> str:
    from semiovs.config.yaml_reader import format_inline

    return ", ".join(f"{k}={format_inline(list(v) if isinstance(v, tuple) else v)}" for k, v in options.items())


def _list_presets() -> list[Row]:
    from semiovs.config.sources import list_presets

    return [{"name": name, "summary": summary} for name, summary in list_presets().items()]


def _list_vocabularies() -> list[Row]:
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


def _list_encoders() -> list[Row]:
    from semiovs.models.encoders import encoder_names

    own = {"tiny": "ours, for tests and demonstrations", "xception65": "ours, as in the COCO recipes"}
    return [{"name": name, "summary": own.get(name, "timm")} for name in encoder_names()]


ROWS: Mapping[Kind, Callable[[], list[Row]]] = {
    Kind.METHODS: METHODS.as_json,
    Kind.SEGMENTERS: SEGMENTERS.as_json,
    Kind.TEACHERS: TEACHERS.as_json,
    Kind.ENCODERS: _list_encoders,
    Kind.DATASETS: DATASETS.as_json,
    Kind.LOGGERS: LOGGERS.as_json,
    Kind.VOCABULARIES: _list_vocabularies,
    Kind.PRESETS: _list_presets,
}
