"""Render self-contained HTML pages from one base template."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import jinja2

from semiovs.control_characters import escape_lines
from semiovs.files import write_bytes


def write_page(path: Path, package: str, **values: Any) -> None:
    """Fill ``page.html`` of a package, which extends ``base.html``, and write it to `path`; missing values raise.

    Texts are escaped for HTML, and their control characters spelled out.
    """
    folders = [jinja2.PackageLoader(package, ""), jinja2.PackageLoader("semiovs.report", "")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders),
        autoescape=True,
        finalize=_spell_controls,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(**values)
    write_bytes(path, text.encode(errors="backslashreplace"))  # names of files may be no UTF-8


def _spell_controls(value: Any) -> Any:
    """A text as `escape_lines`; markup, which the templates call safe, and everything else as it is."""
    return escape_lines(str(value)) if isinstance(value, str | PurePath) and not hasattr(value, "__html__") else value
