"""``semiovs data check``: everything that is wrong with images, masks and lists, found in one pass, with what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, log, report, table
from semiovs.cli.data_input import Arguments, DataInput, Threads, audit_data, find_data
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.audit.audit import Audit

#: Findings of one kind that are printed; all of them are in the JSON, and on the terminal with --all.
_SHOWN = 20


def check(
    arguments: Arguments = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write check.json and check.html there.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write what is certain into the YAML; keeps a copy.")] = False,
    clean: Annotated[Path | None, typer.Option("--clean", metavar="DIR", help="Write lists of the good images there.")] = None,
    every: Annotated[bool, typer.Option("--all", help=f"Print all findings, not {_SHOWN} of a kind.")] = False,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Decode every image and mask, and tell all that is wrong: files, sizes, values, duplicates, leaks. Exit code 3 on errors."""
    found = find_data(arguments or [])
    if fix and (found.yaml is None or found.yaml.name == "config.yaml"):
        raise UsageError(f"--fix changes a YAML file, and '{found.source}' is none; write one: semiovs init DIR")
    result = audit_data(found, threads=threads)
    data = {"source": found.source, "root": str(found.root), **result.as_json()}
    if clean is not None:
        data["clean"] = _cleaned(result, clean, found.root)
    if fix:
        data["fixed"] = _fixed(result, found)
    if out is not None:
        data["files"] = _written(data, result, out, found)
    report(data, as_json=as_json, text=_text(result, data, every=every))
    if not result.ok:
        errors = data["findings"]["error"]
        raise DataError(f"{found.source or found.root}: {errors} {'error' if errors == 1 else 'errors'} in the data")


def _text(result: Audit, data: Mapping[str, Any], *, every: bool) -> str:
    from semiovs.images.findings import by_kind

    lines: list[str] = []
    for kind, group in by_kind(result.findings):
        shown = group if every else group[:_SHOWN]
        lines.append(f"{group[0].severity}: {kind} ({len(group)})")
        lines += [f"  {finding.line}" for finding in shown]
        lines += [f"  … and {len(group) - len(shown)} more: --all prints them"] if len(shown) < len(group) else []
    rows = [[name, a["listed"], a["good"], a["bad"]] for name, a in result.count_records().items()]
    lines.append(table(["images", "listed", "good", "bad"], rows))
    lines.append(", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in data["findings"].items()))
    lines += [f"written: {path}" for path in data.get("files", [])]
    lines += [f"list: {path}" for path in data.get("clean", {}).values()]
    if fixes := [finding.fix for finding in result.findings if finding.setting]:
        lines.append(
            f"next: --fix writes {len(fixes)} of the proposals into the YAML"
            if "fixed" not in data
            else "next: check again"
        )
    return "\n".join(lines)


def _cleaned(result: Audit, folder: Path, root: Path) -> dict[str, str]:
    """Write the good records of each stream; returns the key that takes the list -> the file."""
    from semiovs.data.collection import KEYS
    from semiovs.images.manifest import Manifest

    written = {}
    for name, stream in result.collection.streams.items():
        good = Manifest(result.good_records(name), stream.manifest.root)
        path = good.write(folder / KEYS[name].replace("ood.images", "ood").removeprefix("data."), root)
        written[KEYS[name]] = str(path)
    return written


def _fixed(result: Audit, found: DataInput) -> list[str]:
    """Write the certain settings into the YAML, with a copy beside it; returns the keys."""
    from semiovs.config import load_config
    from semiovs.config.edit import with_settings
    from semiovs.files import write_bytes, write_text

    settings = {key: value for finding in result.findings for key, value in finding.setting.items()}
    if not settings or found.yaml is None:
        log("--fix: none of the findings has a fix that is certain; the proposals are in the list")
        return []
    raw = found.yaml.read_bytes()
    before = raw.decode("utf-8-sig")
    after = with_settings(before, settings, str(found.yaml))
    backup = _free(found.yaml)
    write_bytes(backup, raw)
    write_text(found.yaml, after)
    try:
        load_config(str(found.yaml))
    except UsageError:
        write_bytes(found.yaml, raw)
        raise
    change = difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(backup), str(found.yaml), lineterm="", n=1
    )
    log("\n".join(change))
    return list(settings)


def _free(path: Path) -> Path:
    """A name for a copy that is not taken."""
    number = 0
    while True:
        candidate = path.with_name(f"{path.name}.bak{number or ''}")
        if not candidate.exists():
            return candidate
        number += 1


def _written(data: dict[str, Any], result: Audit, out: Path, found: DataInput) -> list[str]:
    from semiovs.audit.page import write_audit_page
    from semiovs.cli.console import jsonable
    from semiovs.files import write_json

    files = [out / "check.json", out / "check.html"]
    write_json(files[0], jsonable(data))
    write_audit_page(files[1], result, source=found.source or str(found.root))
    return [str(path) for path in files]
