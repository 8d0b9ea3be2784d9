"""``semiovs bench``: how fast this machine is on one's own data, and which settings suit it."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, format_table, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.config.sources import IN_FOLDERS
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.bench.advice import Advice
    from semiovs.bench.speeds import Speeds


def bench(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER|CONFIG] [KEY=VALUE]...",
            help="Folder of images, preset or YAML file; then values on top. Default: the current folder.",
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.05, max=60, help="Measure for about so long.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Time reading and training steps on this machine, and propose workers, batch, precision and compiling.

    Nothing is written, and the data are not checked. The lines of settings can be pasted behind semiovs train.
    """
    from semiovs.bench.advice import advise
    from semiovs.bench.measurement import measure
    from semiovs.config import load_config, split_source

    source, overrides = split_source(arguments or [])
    with _find_source(source, given=bool(overrides)) as (place, first), progress("measuring", unit="seconds") as show:
        found = measure(load_config(place, overrides).config, 60 * minutes, show)
    advice = advise(found)
    steps = [*first, shlex.join(["semiovs", "train", *(arguments or []), *advice.settings])]
    data = {
        **found.as_json(),
        "settings": list(advice.settings),
        "notes": list(advice.notes),
        "seconds_per_step": advice.seconds,
        "next": steps,
    }
    report(data, as_json=as_json, text=f"{_format(found, advice)}\n{format_next(steps)}")


@contextmanager
def _find_source(source: str | None, *, given: bool) -> Iterator[tuple[str | None, Sequence[str]]]:
    """The configuration, and what to type before the training: for a bare folder the starter that `init` would write,
    in a temporary place.
    """
    if source is None and not given:
        if not any(Path(name).is_file() for name in IN_FOLDERS):
            raise UsageError("give a folder of images or a configuration; there is no semiovs.yaml here")
        source = "."
    folder = Path(source) if source is not None else None
    if folder is None or not folder.is_dir() or any((folder / name).is_file() for name in IN_FOLDERS):
        yield source, ()
        return
    from semiovs.images.discover.starter_file import write_starter

    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "semiovs.yaml"
        write_starter(folder, path)
        yield str(path), (shlex.join(["semiovs", "init", str(folder)]),)


def _format(found: Speeds, advice: Advice) -> str:
    reading = format_table(
        ("workers", "pipeline", "a batch", "images a second"),
        [
            (one.workers, one.pipeline, _seconds(one.seconds), f"{_images(found) / one.seconds:.1f}")
            for one in found.loader
        ],
        title=f"reading, {found.cores} cores",
    )
    steps = format_table(
        ("batch", "precision", "compiled", "a step", "images a second", "memory"),
        [
            (
                one.batch_size,
                one.precision,
                "yes" if one.compiled else "",
                one.problem or _seconds(one.seconds or 0.0),
                f"{one.images_per_second:.1f}" if one.seconds else "",
                "" if one.memory_gib is None else f"{one.memory_gib:.2f} GiB",
            )
            for one in found.step
        ],
        title=f"training steps on {found.device}, without reading",
    )
    lines = [reading, "", steps, *(f"no time for {one} (--minutes)" for one in found.skipped), ""]
    lines += [f"note: {note}" for note in advice.notes]
    if advice.seconds is not None:
        lines.append(f"about {_seconds(advice.seconds)} a step with:")
    return "\n".join([*lines, *advice.settings])


def _images(found: Speeds) -> int:
    """Distinct images of a step of the configuration."""
    return next((one.images for one in found.step if one.batch_size == found.batch_size), found.batch_size)


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value < 10 else f"{value:.0f} s"
