"""``semiovs config``: show, compare and validate configurations; the schema for editors."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from semiovs.cli.console import Json, error, format_table, log, out, report
from semiovs.errors import ConfigError

config = typer.Typer(
    help="Show, compare and validate configurations; print the schema.", add_completion=False, rich_markup_mode=None
)

_Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SOURCE] [KEY=VALUE]...", help="Preset, YAML file or run; then overrides."),
]


@config.command()
def show(
    arguments: _Arguments = None,
    origins: Annotated[bool, typer.Option("--origins", help="Say where each value comes from.")] = False,
    as_json: Json = False,
) -> None:
    """Print the resolved configuration as YAML (or JSON), every value with its default filled in."""
    from semiovs.config import load_config, split_source

    source, overrides = split_source(arguments or [])
    loaded = load_config(source, overrides)
    data: dict[str, Any] = loaded.config.model_dump()
    if as_json:
        report({"config": data, "origins": loaded.origins} if origins else data, as_json=True)
    else:
        out(loaded.dump(origins=origins).rstrip("\n"))


@config.command()
def diff(
    left: Annotated[str, typer.Argument(help="Preset, YAML file or run.")],
    right: Annotated[str, typer.Argument(help="Preset, YAML file or run.")],
    as_json: Json = False,
) -> None:
    """Print the keys whose values differ, with both values and their origins."""
    from semiovs.config import find_differences as compare
    from semiovs.config import load_config
    from semiovs.config.yaml_reader import format_inline

    a, b = load_config(left), load_config(right)
    rows = [
        {
            "key": d.key,
            "left": d.left,
            "right": d.right,
            "left_origin": a.origins.get(d.key),
            "right_origin": b.origins.get(d.key),
        }
        for d in compare(a, b)
    ]
    cells = [
        (
            r["key"],
            *(f"{_format_value(r[side], format_inline)}  ({r[f'{side}_origin'] or '-'})" for side in ("left", "right")),
        )
        for r in rows
    ]
    text = format_table(["key", left, right], cells) if rows else "no difference"
    report(rows, as_json=as_json, text=text)


def _format_value(value: Any, inline: Any) -> str:
    return str(inline(list(value) if isinstance(value, tuple) else value))


@config.command()
def validate(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Presets, YAML files or runs.")],
    as_json: Json = False,
) -> None:
    """Check configurations; every problem is one line with key, file and line. Exit code 2 if there is one."""
    from semiovs.config import load_config

    results = []
    for source in sources:
        try:
            load_config(source)
            results.append({"source": source, "ok": True, "problems": []})
        except ConfigError as failure:
            error(str(failure))
            results.append({"source": source, "ok": False, "problems": str(failure).splitlines()})
    good = sum(bool(result["ok"]) for result in results)
    report(results, as_json=as_json, text="\n".join(f"{r['source']}: {'ok' if r['ok'] else 'wrong'}" for r in results))
    if good < len(results):
        log(f"{len(results) - good} of {len(results)} do not hold")
        raise typer.Exit(ConfigError.exit_code)


@config.command()
def schema() -> None:
    """Print the JSON schema (for editors: completion and checks while you type)."""
    from semiovs.config.describe import build_json_schema

    report(build_json_schema(), as_json=True)
