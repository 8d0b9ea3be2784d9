"""``semiovs data check``: find all errors in images, masks and lists in one pass, and say how to fix each."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Engine, Json, Workers, format_table, log, report
from semiovs.cli.data_input import Arguments, DataInput, Threads, audit_data, find_data, require_yaml
from semiovs.cli.next_steps import format_next, propose_training
from semiovs.errors import DataError

if TYPE_CHECKING:
    from semiovs.audit.audit import Audit, Inspect

#: Findings of one kind that are printed; all of them are in the JSON, and on the terminal with --all.
_SHOWN = 20


def check(
    arguments: Arguments = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write check.json and check.html to.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Write the certain fixes into the YAML file; keeps a copy.")
    ] = False,
    clean: Annotated[
        Path | None, typer.Option("--clean", metavar="DIR", help="Folder to write lists of the good images to.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help=f"Print all findings, not {_SHOWN} of a kind.")] = False,
    threads: Threads = 0,
    engine: Engine = "local",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Decode every image and mask; report errors in files, sizes, values, duplicates and leaks. Exit code 3 on
    errors.
    """
    inspect = _choose_engine(engine, workers)
    found = find_data(arguments or [])
    if fix:
        require_yaml(found.source or None, "--fix")
    result = audit_data(found, threads=threads, inspect=inspect)
    data = {"source": found.source, "root": str(found.root), **result.as_json()}
    if clean is not None:
        data["clean"] = _write_clean_lists(result, clean, found.root)
    if fix:
        data["fixed"] = _fix_yaml(result, found)
    if out is not None:
        data["files"] = _write_files(data, result, out, found)
    data["next"] = _list_next_steps(result, found, arguments or [], fixed=fix)
    report(data, as_json=as_json, text=_format_text(result, data, every=every))
    if not result.ok:
        errors = data["findings"]["error"]
        raise DataError(f"{found.source or found.root}: {errors} {'error' if errors == 1 else 'errors'} in the data")


def _choose_engine(name: str, workers: int | None) -> Inspect | None:
    """What reads the files; None: threads of this process.

    Raises:
        UsageError, MissingExtraError: as `wants_ray`.
    """
    from semiovs.clusters.ray_cluster import wants_ray

    if not wants_ray(name, workers, instead="--threads N decodes in N threads"):
        return None
    from semiovs.clusters.ray_checking import inspect_on_ray

    return partial(inspect_on_ray, workers=workers)


def _format_text(result: Audit, data: Mapping[str, Any], *, every: bool) -> str:
    from semiovs.images.findings import group_by_kind

    lines: list[str] = []
    for kind, group in group_by_kind(result.findings):
        shown = group if every else group[:_SHOWN]
        lines.append(f"{group[0].severity}: {kind} ({len(group)})")
        common = group[0].fix if len(group) > 1 and len({finding.fix for finding in group}) == 1 else ""
        lines += [f"  {(replace(finding, fix='') if common else finding).line}" for finding in shown]
        lines += [f"  … and {len(group) - len(shown)} more: --all prints them"] if len(shown) < len(group) else []
        lines += [f"  -> {common}"] if common else []
    rows = [[name, a["listed"], a["good"], a["bad"]] for name, a in result.count_records().items()]
    lines.append(format_table(["images", "listed", "good", "bad"], rows))
    lines.append(", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in data["findings"].items()))
    lines += [f"written: {path}" for path in data.get("files", [])]
    lines += [f"list: {path}" for path in data.get("clean", {}).values()]
    return "\n".join([*lines, *filter(None, [format_next(data["next"])])])


def _list_next_steps(result: Audit, found: DataInput, arguments: Sequence[str], *, fixed: bool) -> list[str]:
    again = shlex.join(["semiovs", "data", "check", *arguments])
    if fixed and any(finding.setting for finding in result.findings):
        return [again]
    if found.yaml is None and Path(found.source).expanduser().is_dir() and found.source:
        return [shlex.join(["semiovs", "init", found.source])]
    if any(finding.setting for finding in result.findings) and found.writable:
        return [f"{again} --fix"]
    if not result.ok or found.method is None:
        return []
    return propose_training(arguments, found.method, result.collection, writable=found.writable)


def _write_clean_lists(result: Audit, folder: Path, root: Path) -> dict[str, str]:
    """Write the good records of each stream; returns the key that takes the list -> the file."""
    from semiovs.data.collection import KEYS
    from semiovs.images.manifest import Manifest

    written = {}
    for name, stream in result.collection.streams.items():
        good = Manifest(result.good_records(name), stream.manifest.root)
        path = good.write(folder / KEYS[name].replace("ood.images", "ood").removeprefix("data."), root)
        written[KEYS[name]] = str(path)
    return written


def _fix_yaml(result: Audit, found: DataInput) -> list[str]:
    """Write the certain settings into the YAML, with a copy beside it; returns the keys."""
    from semiovs.config.change import change_settings

    settings = {key: value for finding in result.findings for key, value in finding.setting.items()}
    if not settings or found.yaml is None:
        log("--fix: none of the findings has a fix that is certain; the proposals are in the list")
        return []
    log(change_settings(found.yaml, settings))
    return list(settings)


def _write_files(data: dict[str, Any], result: Audit, out: Path, found: DataInput) -> list[str]:
    from semiovs.audit.page import write_audit_page
    from semiovs.cli.console import to_jsonable
    from semiovs.files import write_json

    files = [out / "check.json", out / "check.html"]
    write_json(files[0], to_jsonable(data))
    write_audit_page(files[1], result, source=found.source or str(found.root))
    return [str(path) for path in files]
