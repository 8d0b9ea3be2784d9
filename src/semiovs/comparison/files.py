"""The files of a comparison for people and programs: page, JSON, CSV, Markdown."""

from __future__ import annotations

from pathlib import Path

from semiovs.comparison.page import write_comparison_page
from semiovs.comparison.results import Results
from semiovs.comparison.tables import format_csv, format_markdown
from semiovs.files import write_json, write_text


def write_files(results: Results, root: Path) -> dict[str, Path]:
    """Write ``report.html``, ``results.json``, ``table.csv`` and ``table.md`` into `root`; returns kind -> file."""
    root.mkdir(parents=True, exist_ok=True)
    files = {"page": "report.html", "results": "results.json", "csv": "table.csv", "markdown": "table.md"}
    paths = {kind: root / name for kind, name in files.items()}
    write_comparison_page(paths["page"], results)
    write_json(paths["results"], results.as_json())
    write_text(paths["csv"], format_csv(results))
    write_text(paths["markdown"], format_markdown(results))
    return paths
