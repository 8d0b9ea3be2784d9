"""``semiovs data``: check, count and split images, prepare benchmarks; one module per subcommand."""

from __future__ import annotations

import typer

from semiovs.cli.data_check import check
from semiovs.cli.data_normalize import normalize
from semiovs.cli.data_prepare import prepare
from semiovs.cli.data_split import split
from semiovs.cli.data_stats import stats

data = typer.Typer(
    help="Images and masks: check them, count them, split them, prepare benchmarks.",
    add_completion=False,
    rich_markup_mode=None,
)
data.command()(check)
data.command()(stats)
data.command()(prepare)
data.command()(normalize)
data.command()(split)


@data.callback()
def group() -> None:
    """Images and masks: check them, count them, split them, prepare benchmarks."""
