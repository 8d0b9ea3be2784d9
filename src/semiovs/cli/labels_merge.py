"""``semiovs labels merge``: merge stores of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli.console import Json, report
from semiovs.cli.progress import progress


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Store to merge into: a new or an existing one.")],
    stores: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Stores of one vocabulary and teacher.")],
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files; by default they are linked where possible.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Merge stores. Every file is checked; two different labels of one image are an error."""
    from semiovs.store.merge import merge_stores

    with progress("merging") as show:
        done = merge_stores(out, stores, copy=copy, progress=show)
    sources = ", ".join(f"{root} ({number})" for root, number in done.merged.items())
    text = (
        f"{out}: {done.images} images = {done.before} that were there + {done.added} new; "
        f"{done.equal} were double and equal\nmerged: {sources or 'nothing'}"
    )
    report({"store": str(out), **done.as_json()}, as_json=as_json, text=text)
