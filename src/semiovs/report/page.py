"""Render self-contained HTML pages from one base template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from semiovs.files import write_bytes


def write_page(path: Path, package: str, **values: Any) -> None:
    """Fill ``page.html`` of a package, which extends ``base.html``, and write it to `path`; missing values raise."""
    folders = [jinja2.PackageLoader(package, ""), jinja2.PackageLoader("semiovs.report", "")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(**values)
    write_bytes(path, text.encode(errors="backslashreplace"))  # names of files may be no UTF-8
