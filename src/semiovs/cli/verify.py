"""``semiovs verify``: is a run, a store of labels, a comparison or an exported file whole?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, report
from semiovs.cli.progress import progress
from semiovs.errors import DataError
from semiovs.object_store import show_path

if TYPE_CHECKING:
    from semiovs.integrity.inspection import Inspection

#: Findings of one kind that are printed; all of them are in the JSON report.
_SHOWN = 20


def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Run, store of labels, comparison, or exported file (.onnx, …).")
    ],
    as_json: Json = False,
) -> None:
    """Prove that a run, store, comparison or exported file is whole, or say what is not; nothing is written.

    Exit code 3 if something is damaged. Half-written files of a killed process are named, and are no damage.
    """
    from semiovs.integrity.kinds import inspect

    with progress("verifying") as show:
        found = inspect(path, progress=show)
    report(found.as_json(), as_json=as_json, text=_format_text(found))
    if damage := found.damage:
        raise DataError(f"{show_path(path)}: damaged, {len(damage)} finding(s); the first: {damage[0].line}")


def _format_text(found: Inspection) -> str:
    kinds = {"damage": "damaged", "unfinished": "unfinished", "unchecked": "not checked", "harmless": "harmless"}
    groups = {name: [each for each in found.findings if each.harm == harm] for harm, name in kinds.items()}
    whole = "whole" if found.is_whole else "damaged"
    if found.is_whole and groups["not checked"]:
        whole = "whole as far as it was checked"
    lines = [f"{show_path(found.path)}: {found.kind}, {whole}; {found.checked} files checked"]
    for name, group in groups.items():
        lines += [f"  {name}: {each.line}" for each in group[:_SHOWN]]
        lines += [f"  … and {len(group) - _SHOWN} more ({name})"] if len(group) > _SHOWN else []
    return "\n".join(lines)
