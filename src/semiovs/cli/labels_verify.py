"""``semiovs labels verify``: check a store of labels for missing and damaged files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, log, report
from semiovs.cli.progress import progress
from semiovs.cli.store_options import StoreFolder
from semiovs.errors import DataError
from semiovs.object_store import show_path

if TYPE_CHECKING:
    from semiovs.store.verify import StoreReport

#: Ids and files that are named; all of them are in the JSON report.
_SHOWN = 10


def verify(
    store: StoreFolder,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Remove damaged images from the store, so that `semiovs label` labels them again."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare every file with its checksum. Exit code 3 if the store is damaged (with --fix: 0 once it is repaired)."""
    from semiovs.store.meta import StoreMeta
    from semiovs.store.packed_labels import is_packed
    from semiovs.store.shard_index import PACK_AGAIN
    from semiovs.store.verify import inspect, repair

    StoreMeta.read(store)  # a folder that is no store
    if fix:
        found = repair(store)
    else:
        with progress("verifying") as show:
            found = inspect(store, progress=show)
    report(
        {"store": show_path(store), "fixed": fix, **found.as_json()}, as_json=as_json, text=_format_text(store, found)
    )
    if found.ok:
        return
    if not fix:
        advice = f"next: semiovs labels verify {shlex.quote(str(store))} --fix"
        raise DataError(f"{show_path(store)}: {_describe_damage(found)}; {PACK_AGAIN if is_packed(store) else advice}")
    log(f"next: run `semiovs label` again; it redoes what was taken out ({_describe_damage(found)})")


def _describe_damage(found: StoreReport) -> str:
    parts = {
        "missing": len(found.missing),
        "damaged": len(found.damaged),
        "damaged index lines": len(found.lines),
        "problems of tars": len(found.shards),
    }
    return ", ".join(f"{number} {name}" for name, number in parts.items() if number)


def _format_text(store: Path, found: StoreReport) -> str:
    lines = [f"{show_path(store)}: {found.checked} images checked, {_describe_damage(found) or 'all whole'}"]
    kinds: dict[str, Sequence[object]] = {
        "missing": found.missing,
        "damaged": found.damaged,
        "line": found.lines,
        "tar": found.shards,
    }
    for name, items in kinds.items():
        lines += [f"  {name}: {item}" for item in items[:_SHOWN]]
        lines += [f"  … and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    if found.stray:
        lines.append(f"  {len(found.stray)} files belong to no image (harmless), like {found.stray[0]}")
    return "\n".join(lines)
