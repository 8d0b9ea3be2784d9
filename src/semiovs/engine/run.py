"""Run directories: configuration, environment, log, metrics, checkpoints, evaluation."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from semiovs.control_characters import escape_controls
from semiovs.errors import UsageError
from semiovs.evaluation import ImageCounts
from semiovs.files import is_temporary, open_regular, sole_writer, sweep_temporaries, write_json, write_text

log = logging.getLogger(__name__)

_FILES = (
    "env.json", "command.txt", "data.json", "log.txt", "metrics.jsonl", "eval.json", "model.safetensors",
    "report.html", "loggers.json",
)  # fmt: skip
_LOCK = ".lock"
_FOLDERS = ("checkpoints", "export", "scores", "tensorboard", "wandb")
_PACKAGES = ("semiovs", "torch", "torchvision", "timm", "numpy", "pillow", "opencv-python-headless")


class RunHeldError(UsageError):
    """Another process writes to the run now (exit code 2)."""


class Run:
    """The directory of one run; only the main process writes to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def config(self) -> Path:
        """The resolved configuration, with the origin of each value."""
        return self.directory / "config.yaml"

    @property
    def data(self) -> Path:
        """What images and masks the run was started with (`DataFingerprint`)."""
        return self.directory / "data.json"

    @property
    def metrics(self) -> Path:
        """JSON lines; fields that begin with `wall/` depend on the machine, all others are reproducible."""
        return self.directory / "metrics.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that writes to the run (`writing`)."""
        return self.directory / _LOCK

    @property
    def log(self) -> Path:
        """The program's log."""
        return self.directory / "log.txt"

    @property
    def checkpoints(self) -> Path:
        """Directory of the checkpoints."""
        return self.directory / "checkpoints"

    @property
    def evaluation(self) -> Path:
        """Last and best evaluation."""
        return self.directory / "eval.json"

    def counts(self, model: str, which: Literal["best", "last"]) -> Path:
        """Confusion matrices of the evaluation images one by one (`ImageCounts`), at the end or at the best step."""
        return self.directory / "scores" / f"{which}-{model}.npz"

    def keep_counts(self, model: str, counts: ImageCounts, is_best: bool) -> None:
        """Write the counts of the newest evaluation; is_best: and let them be those of the best step."""
        for which in ("last", "best") if is_best else ("last",):
            counts.write(self.counts(model, which))

    @property
    def model(self) -> Path:
        """Weights for prediction, written at the end."""
        return self.directory / "model.safetensors"

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.directory / "report.html"

    @classmethod
    def default_directory(cls, name: str, method: str, now: datetime) -> Path:
        """``runs/<name>/<time>-<method>``, with a number appended if it exists."""
        base = Path("runs") / name / f"{now:%Y%m%d-%H%M%S}-{method}"
        taken = 1
        path = base
        while path.exists():
            taken += 1
            path = base.with_name(f"{base.name}-{taken}")
        return path

    @classmethod
    def create(
        cls,
        directory: Path,
        config: str,
        command: Sequence[str],
        *,
        overwrite: bool = False,
        launch: str | None = None,
    ) -> Run:
        """Make the directory and write configuration, environment and command.

        launch: name of the launch of several processes that begins the run, which will know it again by that.

        Raises:
            UsageError: the directory is not empty, and `overwrite` is off or it is not a run.
        """
        run = cls(directory)
        run.check_free(overwrite=overwrite)
        for name in _FOLDERS:  # checkpoints first: what is left, if this is killed, is nothing to continue from
            shutil.rmtree(directory / name, ignore_errors=True)
        try:
            for name in _FILES:
                (directory / name).unlink(missing_ok=True)
            write_text(run.config, config)  # replaced and never removed: the folder is a run at every moment
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            write_json(run.directory / "env.json", {**describe_environment(), **({"launch": launch} if launch else {})})
            write_text(run.directory / "command.txt", escape_controls(" ".join(command)) + "\n")
        except OSError as error:
            raise UsageError(f"run.dir: {directory} cannot be written: {error}") from None
        return run

    @classmethod
    def open(cls, directory: Path) -> Run:
        """An existing run.

        Raises:
            UsageError: no run there.
        """
        run = cls(directory)
        if not run.config.is_file():
            what = "is not a run directory (it has no config.yaml)" if directory.exists() else "does not exist"
            raise UsageError(f"{directory} {what}; runs lie in runs/<name>/, the newest one is runs/<name>/latest")
        return run

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While entered, no other process may write to this run; the directory is made if need be.

        Raises:
            RunHeldError: another process writes to it; UsageError: it cannot be written.
        """
        lock = self.lock
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            raise UsageError(f"run.dir: {self.directory} cannot be written: {error}") from None
        with sole_writer(lock) as owner:
            if owner is not None:
                raise RunHeldError(
                    f"{self.directory} is being written by another process{owner and f' ({owner})'}; wait until it "
                    "ends, or stop it first"
                )
            yield

    def point_latest(self) -> None:
        """Let ``latest`` beside the run point to it."""
        link = self.directory.with_name("latest")
        temporary = self.directory.with_name(f"latest.{os.getpid()}")
        with suppress(OSError):  # a convenience, which not every file system can hold
            temporary.symlink_to(self.directory.name)
            temporary.replace(link)

    def note_command(self, command: Sequence[str]) -> None:
        """Append the command that resumes the run to command.txt."""
        with (self.directory / "command.txt").open("a", encoding="utf-8") as file:
            file.write(" ".join(command) + "\n")

    def sweep(self) -> None:
        """Remove half-written files that a killed process left beside the checkpoints; called by the only writer."""
        for folder in (self.directory, self.directory / "scores"):
            sweep_temporaries(folder)

    def cut_metrics(self, step: int, *, pending: Sequence[str] = ()) -> None:
        """Drop lines after `step`, which will be written again, and lines that are damaged or incomplete.

        pending: kinds of lines of `step` itself that will be written again too, with the notes on them.
        """
        if not self.metrics.exists():
            return
        lines = [line for line in _read_lines(self.metrics) if line]
        rows = [_parse_row(line) for line in lines]
        kept = [
            line
            for line, row in zip(lines, rows, strict=True)
            if row is not None and (row["step"] < step or (row["step"] == step and not _is_on(row, pending)))
        ]
        write_text(self.metrics, "".join(f"{line}\n" for line in kept))
        if damaged := rows[:-1].count(None):  # a killed process leaves the last line incomplete
            log.warning("%s: %d damaged line(s) left out", self.metrics, damaged)

    def check_free(self, *, overwrite: bool = False) -> None:
        """Raise UsageError unless a run can be created here."""
        if not self.directory.exists() or (self.directory.is_dir() and self._is_empty()):
            return
        if not self.config.is_file():
            raise UsageError(f"run.dir: {self.directory} exists and is not a run; choose another directory")
        if not overwrite:
            raise UsageError(
                f"run.dir: {self.directory} holds a run already; continue it with 'semiovs resume {self.directory}', "
                "or start anew with --overwrite (or run.overwrite=true)"
            )

    def _is_empty(self) -> bool:
        """Whether there is nothing but what a process leaves that was killed before the configuration was written."""
        return all(entry.name == _LOCK or is_temporary(entry, of=self.config) for entry in self.directory.iterdir())


def find_run(source: Path) -> Path | None:
    """The run directory that a source is or lies in, if any."""
    folders = (source, source.parent, source.parent.parent)
    return next((folder for folder in folders if (folder / "config.yaml").is_file()), None)


def describe_environment() -> dict[str, Any]:
    """Versions and hardware of this process."""
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _find_version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda,
        "cpu": {"machine": platform.machine(), "count": os.cpu_count(), "threads": torch.get_num_threads()},
        "gpus": gpus,
    }


def get_command_line() -> list[str]:
    """The command as the user typed it."""
    return ["semiovs", *sys.argv[1:]]


def read_metrics(path: Path) -> list[Mapping[str, Any]]:
    """Rows of a metrics file, without lines that are damaged or incomplete."""
    if not path.exists():
        return []
    return [row for _, row in scan_metrics(path) if row is not None]


def scan_metrics(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Number and row of each line of a metrics file that is not empty; None for one that is damaged or incomplete."""
    for number, line in enumerate(_read_lines(path), 1):
        if line:
            yield number, _parse_row(line)


def _find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read_lines(path: Path) -> list[str]:
    with open_regular(path) as file:
        return file.read().decode("utf-8", errors="replace").split("\n")


def _is_on(row: Mapping[str, Any], kinds: Sequence[str]) -> bool:
    """Whether a row is of one of the kinds, or a note on a row of them."""
    return row["kind"] in kinds or (row["kind"] == "note" and row.get("on") in kinds)


def _parse_row(line: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(row, dict) and type(row.get("step")) is int and isinstance(row.get("kind"), str)
    return row if known else None
