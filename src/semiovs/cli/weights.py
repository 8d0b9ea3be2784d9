"""``semiovs weights``: which weights there are, fetch them, prove that they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from semiovs.cli.console import Json, log, report, table
from semiovs.cli.progress import progress
from semiovs.errors import UsageError, WeightsError, did_you_mean

weights = typer.Typer(
    help="Weights: which there are, fetch them, check them.", add_completion=False, rich_markup_mode=None
)


@weights.callback()
def group() -> None:
    """Weights of encoders and teachers, and published checkpoints."""


@weights.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="encoder, text, teacher or checkpoint.")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Only those of which this machine has a copy.")] = False,
    as_json: Json = False,
) -> None:
    """List the catalogue: what for, licence, size, and where a copy lies. Nothing is downloaded."""
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
        (row.name, row.kind, row.what, "?" if row.megabytes is None else f"{row.megabytes:g} MB",
         row.licence or "not stated", place.where if place else "-")
        for row, place in found
    ]  # fmt: skip
    report(rows, as_json=as_json, text=table(["name", "kind", "what", "size", "licence", "here"], shown))


@weights.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Rows of `semiovs weights list`.")],
    as_json: Json = False,
) -> None:
    """Fetch weights: from the hub into its cache, from a direct link into SEMIOVS_WEIGHTS_DIR. What is there is not fetched again.

    Where they cannot be had, the error says which file to put where (exit code 4).
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
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="None: all that are here.")] = None,
    as_json: Json = False,
) -> None:
    """Hash the copies that are here and compare with what is recorded: in the catalogue, by the hub, or when they were fetched.

    Exit code 4 if a copy is damaged, or one that was named is absent.
    """
    from semiovs.models import weight_files
    from semiovs.models.weight_catalog import catalogue, lookup

    rows = [lookup(name) for name in names or catalogue()]
    found = [weight_files.check(row) for row in rows]
    if not names:
        found = [one for one in found if one.status != "absent"] + weight_files.find_unlisted()
    shown = [(one.status, one.name, one.sha256 or "", one.recorded or "", one.path or "") for one in found]
    text = table(["", "name", "SHA-256", "recorded by", "file"], shown) if found else "no weights are here"
    report([one.as_json() for one in found], as_json=as_json, text=text)
    _complain(found)


def _complain(found: Sequence[Any]) -> None:
    """Raise for what is damaged or absent."""
    wrong = [one for one in found if one.status in ("damaged", "absent")]
    if wrong:
        first = wrong[0]
        next_ = f"delete {first.path} and fetch it again" if first.path else f"semiovs weights pull {first.name}"
        raise WeightsError(f"{first.name}: {first.status}{_others(len(wrong) - 1)}; next: {next_}")
    if any(one.status == "unknown" for one in found):
        log("unknown: whole as far as can be told; no checksum was recorded to compare with")


def _others(count: int) -> str:
    return f" (and {count} more)" if count else ""
