"""``semiovs report``: write the page of a run, or of a comparison, from its files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, report
from semiovs.cli.next_steps import format_next, propose_prediction
from semiovs.cli.progress import progress
from semiovs.errors import DataError

if TYPE_CHECKING:
    from semiovs.run_page.page import Found


def write_report(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, or directory of a comparison.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of the page; default: report.html in the directory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one page about a run: scores, curves, classes, boundaries, the worst images, settings.

    A training writes it at its end. Of a comparison the page and the tables are written anew.
    """
    if (path / "comparison.json").is_file():
        _report_comparison(path, out, as_json=as_json)
        return
    from semiovs.run_page.page import write_run_page

    with progress("predicting") as show:
        found = write_run_page(path, out, progress=show)
    page, steps = out or found.record.run.page, _propose_steps(found)
    text = "\n".join([*_list_scores(found), f"page: {page}", *([format_next(steps)] if steps else [])])
    report({"page": page, **found.as_json(), "next": steps}, as_json=as_json, text=text)


def _list_scores(found: Found) -> list[str]:
    record, measured = found.record, found.measurement
    lines = []
    if record.last is not None and record.best is not None:
        best = f"highest {record.best['miou']:.2f} at step {record.best['step']}"
        lines.append(f"{record.model}: mIoU {record.last['miou']:.2f} at step {record.last['step']}; {best}")
    if measured is not None:
        ece = 100 * measured.reliability.ece
        lines.append(
            f"boundary mIoU {measured.boundary_miou:.2f}, calibration error {ece:.1f} %, on {measured.images} images"
        )
    return [*lines, *found.why.values()]


def _propose_steps(found: Found) -> list[str]:
    run = found.record.run
    if not found.record.is_finished:
        return [shlex.join(["semiovs", "resume", str(run.directory)])] if any(run.checkpoints.glob("step-*.pt")) else []
    return [] if found.images is None else [propose_prediction(run.directory, found.images)]


def _report_comparison(root: Path, out: Path | None, *, as_json: bool) -> None:
    from semiovs.comparison.files import write_files
    from semiovs.comparison.page import write_comparison_page
    from semiovs.comparison.plan import Plan
    from semiovs.comparison.results import read_results
    from semiovs.registry import DATASETS, lookup

    plan = Plan.read(root)
    data = plan.base.config.data
    names = lookup(DATASETS, data.name, kind="data set").load()(data).vocabulary().names
    results = read_results(plan, names)
    if not results.arms:
        raise DataError(f"{root}: no training of this comparison is finished yet; semiovs compare goes on with it")
    if out is None:
        files = write_files(results, root)
    else:
        write_comparison_page(out, results)
        files = {"page": out}
    told: dict[str, Any] = {**results.as_json(), "files": {kind: str(path) for kind, path in files.items()}}
    says = list(results.says)
    report({"page": files["page"], **told}, as_json=as_json, text="\n".join([*says, f"page: {files['page']}"]))
