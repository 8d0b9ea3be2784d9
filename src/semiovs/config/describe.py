"""Describe the schema: JSON schema for editors, and the reference tables of the documentation.

``python -m semiovs.config.describe docs/reference/config.md`` writes the tables anew after a change of the schema.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from semiovs.config.error_messages import NAMES
from semiovs.config.layers import OPTIONAL, SHORT, join_key, sections
from semiovs.config.schema import Config
from semiovs.config.yaml_reader import format_inline

#: The tables of a page follow this line.
MARK = "<!-- generated: python -m semiovs.config.describe -->\n"


def build_json_schema() -> dict[str, Any]:
    """Build the JSON schema of a configuration file, with ``extends`` and the short forms (``method: unimatch``)."""
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "semiovs configuration"
    text = {"type": "string"}
    schema["properties"]["extends"] = {
        "anyOf": [text, {"type": "array", "items": text}],
        "description": "presets or files (relative to this one) that this file builds on; later ones win",
    }
    for section, (_, known) in ((key.removesuffix(".name"), row) for key, row in NAMES.items()):
        owner = schema["$defs"][sections()[section].__name__]
        owner["properties"]["name"]["enum"] = list(known)
        if section in SHORT:
            whole = schema["properties"][section]
            schema["properties"][section] = {"anyOf": [whole, {"enum": list(known)}]}
    schema["properties"]["ood"]["anyOf"].append(text)
    return schema


def format_reference() -> str:
    """Format all keys with default and meaning, as a Markdown table per section."""
    return (
        "\n\n".join(_format_section(path) for path in sections() if path and any(True for _ in _format_rows(path)))
        + "\n"
    )


def _format_section(path: str) -> str:
    model = sections()[path]
    note = " (absent by default)" if path in OPTIONAL else ""
    lines = [
        f"### `{path}`{note}",
        "",
        (model.__doc__ or "").strip(),
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *_format_rows(path)])


def _format_rows(path: str) -> Iterator[str]:
    for name, field in sections()[path].model_fields.items():
        if join_key(path, name) in sections():
            continue
        default = field.default
        shown = "" if default is PydanticUndefined else f"`{_format_default(default)}`"
        meaning = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
        yield f"| `{name}` | {shown} | {meaning} |"


def _format_default(value: Any) -> str:
    return format_inline(list(value) if isinstance(value, tuple) else value)


def fill_page(text: str) -> str:
    """Replace everything after `MARK` in a page by the current tables."""
    head, mark, _ = text.partition(MARK)
    return f"{head}{mark}\n{format_reference()}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(fill_page(Path(name).read_text("utf-8")), "utf-8")
