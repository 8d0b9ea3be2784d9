"""``semiovs demo``: data, teacher, training and evaluation on synthetic images, on a CPU, in minutes."""

from __future__ import annotations

import shlex
import shutil
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli import console
from semiovs.cli.console import Json, format_table, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.errors import InterruptedRunError, PreemptedError, UsageError
from semiovs.files import write_json, write_text

if TYPE_CHECKING:
    from semiovs.demo.demo import DemoResult

#: Marks a folder as written by a demo, which the next demo may replace.
MARKER = ".semiovs-demo"
_EXAMPLES = 5


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write to; that of an earlier demo is replaced.", metavar="DIR")
    ] = Path("semiovs-demo"),
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the images and the trainings.", min=0, max=2**31 - 1)
    ] = 0,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of each training, for a shorter or longer demo.", min=5)
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a small world of textured objects, train four students on it, show whether the OOD images helped."""
    with fresh_folder(out):
        console.log(f"demo in {out}, seed {seed}; takes up to 4 minutes on 2 CPU cores")
        # imported late: torch takes seconds to import, and a wrong folder should fail at once
        from semiovs.calibration.page import write_card_page
        from semiovs.demo.demo import ARMS, make_examples, run_demo
        from semiovs.demo.image_strips import write_strips
        from semiovs.demo.ood_labels import make_teacher_card
        from semiovs.demo.page import write_demo_page

        with progress("training", unit="steps") as show:
            result = run_demo(out, seed, steps=steps, say=console.log, show=show)
        card = make_teacher_card(out / "world")
        write_card_page(out / "teacher.html", card)
        target, ood = make_examples(out, seed, _EXAMPLES)
        write_demo_page(out / "report.html", result, card.advice, target, ood)
        write_strips(out / "predictions.png", target)
        write_json(out / "results.json", result.as_json())
    then = [
        shlex.join(["semiovs", "predict", str(result.run(ARMS[-1])), f"{out}/world/ood"]),
        shlex.join(["semiovs", "compare", str(out), "--seeds", "6", "--jobs", "2"]),
        "# DIR: a folder of images of your own: semiovs init DIR",
    ]
    report({**result.as_json(), "next": then}, as_json=as_json, text=f"{_format_text(result)}\n{format_next(then)}")


@contextmanager
def fresh_folder(out: Path) -> Iterator[None]:
    """Provide an empty folder `out`; if the body fails, the folder is removed and an earlier demo restored.

    Raises:
        UsageError: `out` holds something that is no demo, or cannot be made.
        InterruptedRunError, PreemptedError: the body was stopped.
    """
    before = _set_aside(out)
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_text(out / MARKER, "made by `semiovs demo`, which may replace this folder\n")
        except OSError as error:
            raise UsageError(f"--out: {out} cannot be written: {error.strerror or error}") from None
        with _raise_on_sigterm():
            yield
    except BaseException as error:
        with suppress(OSError):
            shutil.rmtree(out)
        if before is not None:
            before.rename(out)
        kept = f"{out} is as it was" if before is not None else f"nothing is left in {out}"
        if isinstance(error, InterruptedRunError | KeyboardInterrupt):
            raise InterruptedRunError(f"demo stopped; {kept}") from None
        if isinstance(error, PreemptedError):
            raise PreemptedError(f"demo stopped by a signal; {kept}") from None
        raise
    for old in out.parent.glob(f".{out.name}.*"):  # the earlier one, and what a killed demo set aside
        if (old / MARKER).is_file():
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _raise_on_sigterm() -> Iterator[None]:
    """Raise an exception on SIGTERM, as Ctrl-C does, so that the folder is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise PreemptedError("stopped by SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _set_aside(out: Path) -> Path | None:
    """Rename an earlier demo, so that it can be restored; returns its new name, None if there is none."""
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return None
        if not (out / MARKER).is_file():
            raise UsageError(f"--out: {out} exists and is not an earlier demo; choose another folder")
        aside = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
        return out.rename(aside)
    except OSError as error:
        raise UsageError(f"--out: {out} cannot be replaced: {error.strerror or error}") from None


def _format_text(result: DemoResult) -> str:
    from semiovs.demo.demo import ARMS

    scores = result.miou
    rows = [(arm.title, f"{scores[arm.name]:.1f}", arm.learns_from) for arm in ARMS]
    rows.append(("(teacher)", f"{result.teacher.miou:.1f}", "words; measured on the OOD images"))
    where = result.root
    return "\n".join(
        [
            *result.judge(),
            format_table(("student", "mIoU %", "learns from"), rows),
            f"{result.steps} steps each, {result.seconds:.0f} s in all",
            f"report: {where}/report.html; the teacher's card: {where}/teacher.html",
        ]
    )
