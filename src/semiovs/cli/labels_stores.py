"""``semiovs labels merge`` and ``pack``: a store of labels made of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli.console import Json, report
from semiovs.cli.progress import progress
from semiovs.cli.store_options import StoreFolder


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Store to merge into: a new or an existing one.")],
    stores: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Stores of one vocabulary and teacher.")],
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files; by default they are linked where possible.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Merge stores, and unpack packed ones. Every file is checked; two different labels of one image are an error."""
    from semiovs.store.merge import merge_stores

    with progress("merging") as show:
        done = merge_stores(out, stores, copy=copy, progress=show)
    sources = ", ".join(f"{root} ({number})" for root, number in done.merged.items())
    text = (
        f"{out}: {done.images} images = {done.before} that were there + {done.added} new; "
        f"{done.equal} were double and equal\nmerged: {sources or 'nothing'}"
    )
    report({"store": str(out), **done.as_json()}, as_json=as_json, text=text)


def pack(
    store: StoreFolder,
    out: Annotated[str, typer.Argument(metavar="OUT", help="New folder, or URL such as s3://bucket/labels.")],
    size: Annotated[int, typer.Option("--shard-size", min=1, help="Images a tar.")] = 10_000,
    images: Annotated[
        str | None,
        typer.Option(metavar="TARS", help="The tars that were labelled: one tar of labels for each, with its keys."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that read labels.")] = 4,
    as_json: Json = False,
) -> None:
    """Pack a store into tars, which are read like the store itself; the same command goes on after a kill.

    Packing twice gives the same bytes. `semiovs labels merge NEW OUT` unpacks.
    """
    from semiovs.images.source import read_source
    from semiovs.store.pack import pack_store

    listed = None if images is None else read_source(images, outside=True)
    with progress("packing") as show:
        done = pack_store(store, Path(out), size=size, images=listed, threads=threads, progress=show)
    kept = f", {done.kept} of them finished by an earlier job" if done.kept else ""
    text = f"{out}: {done.images} images in {done.shards} tars{kept}, {done.bytes / 2**20:.1f} MiB"
    report({"store": out, **done.as_json()}, as_json=as_json, text=text)
