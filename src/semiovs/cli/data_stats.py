"""``semiovs data stats``: what images and masks hold, stream by stream, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from semiovs.cli.console import Json, jsonable, log, report, table
from semiovs.cli.data_input import Arguments, Threads, audit_data, find_data


def stats(
    arguments: Arguments = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write stats.json and stats.html there.")
    ] = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Sizes, formats, colours, class shares and images a class, of all images. Wrong ones are left out; `data check` names them."""
    found = find_data(arguments or [])
    result = audit_data(found, threads=threads)
    whole = result.as_json()
    data: dict[str, Any] = {"source": found.source, "root": str(found.root), "streams": whole["streams"]}
    data["duplicates"] = [row for row in whole["list"] if row["kind"].startswith(("copy-", "leak-"))]
    if out is not None:
        from semiovs.audit.page import write_audit_page
        from semiovs.files import write_json

        data["files"] = [str(out / "stats.json"), str(out / "stats.html")]
        write_json(out / "stats.json", jsonable(data))
        write_audit_page(out / "stats.html", result, source=found.source or str(found.root), facts=True)
    report(data, as_json=as_json, text=_text(data))
    errors = whole["findings"]["error"]
    if errors:
        log(f"note: {errors} errors in the data; see them: semiovs data check {found.source}")


def _text(data: Mapping[str, Any]) -> str:
    streams: Mapping[str, Any] = data["streams"]
    rows = [[name, *_row(facts)] for name, facts in streams.items()]
    parts = [table(["images", "listed", "read", "sizes", "median", "formats", "MiB", "mean RGB", "std RGB"], rows)]
    masked = {name: facts for name, facts in streams.items() if facts.get("classes")}
    if masked:
        names = list(next(iter(masked.values()))["classes"])
        used = [n for n in names if any(f["classes"][n]["images"] for f in masked.values())]
        shown = names if len(names) < 255 else used
        cells = [[n, *(_share(facts["classes"][n]) for facts in masked.values())] for n in shown]
        cells.append(["(ignored)", *(f"{100 * facts['ignored']:.2f}%" for facts in masked.values())])
        parts.append(table(["class: pixels, images", *masked], cells))
    parts += [f"written: {path}" for path in data.get("files", [])]
    return "\n\n".join(parts)


def _row(facts: Mapping[str, Any]) -> list[Any]:
    if not facts["images"]:
        return [facts["listed"], 0, *[""] * 6]
    formats = ", ".join(f"{name} {number}" for name, number in facts["formats"].items())
    median = f"{facts['width']['median']:.0f}x{facts['height']['median']:.0f}"
    mean, std = (" ".join(f"{value:.3f}" for value in facts[key]) for key in ("mean", "std"))
    return [
        facts["listed"],
        facts["images"],
        facts["sizes"],
        median,
        formats,
        f"{facts['bytes'] / 2**20:.1f}",
        mean,
        std,
    ]


def _share(found: Mapping[str, Any]) -> str:
    return f"{100 * found['pixels']:.2f}%, {found['images']}" if found["images"] else "-"
