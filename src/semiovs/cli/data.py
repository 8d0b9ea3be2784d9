"""``semiovs data``: what is in your images, what is wrong with them, and lists to train with. One module a subcommand."""

from __future__ import annotations

import typer

from semiovs.cli.data_normalize import normalize
from semiovs.cli.data_prepare import prepare
from semiovs.cli.data_split import split

data = typer.Typer(
    help="Images and masks: check them, count them, split them, prepare benchmarks.",
    add_completion=False,
    rich_markup_mode=None,
)
data.command()(prepare)
data.command()(normalize)
data.command()(split)


@data.callback()
def _group() -> None:
    """Images and masks: check them, count them, split them, prepare benchmarks."""
