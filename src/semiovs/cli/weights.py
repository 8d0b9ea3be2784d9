"""``semiovs weights``: list, fetch and verify weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.progress import progress
from semiovs.errors import UsageError, WeightsError, did_you_mean

weights = typer.Typer(help="List, fetch and check weights.", add_completion=False, rich_markup_mode=None)


@weights.callback()
def group() -> None:
    """Weights of encoders and teachers, and published checkpoints."""


@weights.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="encoder, text, teacher or checkpoint.")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Only weights with a copy on this machine.")] = False,
    as_json: Json = False,
) -> None:
    """List the catalogue: purpose, licence, size, and where a copy lies. Nothing is downloaded."""
    from semiovs.models.weight_catalog import KINDS, catalogue, locate

    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind {kind}: there is no such kind{did_you_mean(kind, KINDS)}")
    found = [(row, locate(row)) for row in catalogue().values() if kind in (None, row.kind)]
    found = [(row, place) for row, place in found if place is not None or not here]
    rows = [
        {**row.as_json(), "where": place and place.where, "path": None if place is None else str(place.path)}
        for row, place in found
    ]
    shown = [
        (
            row.name,
            row.kind,
            row.what,
            "?" if row.megabytes is None else f"{row.megabytes:g} MB",
            row.licence or "not stated",
            place.where if place else "-",
        )
        for row, place in found
    ]
    report(rows, as_json=as_json, text=format_table(["name", "kind", "what", "size", "licence", "here"], shown))


@weights.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Rows of `semiovs weights list`.")],
    as_json: Json = False,
) -> None:
    """Fetch weights that are not here: from the hub into its cache, from a direct link into SEMIOVS_WEIGHTS_DIR.

    If they cannot be fetched, the error says which file to put where (exit code 4).
    """
    from semiovs.models import weight_files
    from semiovs.models.weight_catalog import lookup

    rows, done, lines = [lookup(name) for name in names], [], []
    for row in rows:
        with progress(f"{row.name}, MiB") as show:
            place, fetched = weight_files.pull(row, show)
        done.append({"name": row.name, "path": str(place.path), "where": place.where, "fetched": fetched})
        use = row.use.replace("{file}", str(place.path))
        lines.append(f"{row.name}: {'' if fetched else 'already '}at {place.path} ({place.where})\n  use: {use}")
    report(done, as_json=as_json, text="\n".join(lines))


@weights.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all that are here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the checksums of local copies with those recorded in the catalogue, by the hub, or at the download.

    Exit code 4 if a copy is damaged, or a named one is absent.
    """
    from semiovs.models import weight_files
    from semiovs.models.weight_catalog import catalogue, lookup

    rows = [lookup(name) for name in names or catalogue()]
    found = [weight_files.check(row) for row in rows]
    if not names:
        found = [one for one in found if one.status != "absent"] + weight_files.find_unlisted()
    shown = [(one.status, one.name, one.sha256 or "", one.recorded or "", one.path or "") for one in found]
    text = format_table(["", "name", "SHA-256", "recorded by", "file"], shown) if found else "no weights are here"
    report([one.as_json() for one in found], as_json=as_json, text=text)
    _raise_problems(found)


def _raise_problems(found: Sequence[Any]) -> None:
    """Raise an error if weights are damaged or absent."""
    wrong = [one for one in found if one.status in ("damaged", "absent")]
    if wrong:
        first = wrong[0]
        next_ = f"delete {first.path} and fetch it again" if first.path else f"semiovs weights pull {first.name}"
        raise WeightsError(f"{first.name}: {first.status}{_format_others(len(wrong) - 1)}; next: {next_}")
    if any(one.status == "unknown" for one in found):
        log("unknown: whole as far as can be told; no checksum was recorded to compare with")


def _format_others(count: int) -> str:
    return f" (and {count} more)" if count else ""
