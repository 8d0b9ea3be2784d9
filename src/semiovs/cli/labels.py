"""``semiovs labels``: inspect, verify, merge, view, export and import labels; one module per subcommand."""

from __future__ import annotations

import typer

from semiovs.cli.labels_export import export
from semiovs.cli.labels_import import import_
from semiovs.cli.labels_stats import stats
from semiovs.cli.labels_stores import merge, pack
from semiovs.cli.labels_verify import verify
from semiovs.cli.labels_view import view

labels = typer.Typer(
    help="Stores of labels: stats, verify, merge, pack, view; export and import: annotation programs.",
    add_completion=False,
    rich_markup_mode=None,
)
labels.command("export")(export)
labels.command("import")(import_)
labels.command()(stats)
labels.command()(verify)
labels.command()(merge)
labels.command()(pack)
labels.command()(view)
