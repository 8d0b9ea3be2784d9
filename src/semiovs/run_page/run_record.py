"""What the files of a run say: settings, rows of the metrics, scores, images, environment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from semiovs.config import LoadedConfig, load_config
from semiovs.engine.data_fingerprint import DataFingerprint
from semiovs.engine.run import Run, read_metrics
from semiovs.files import open_regular, parse_json

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """A run, finished or not.

    rows: of ``metrics.jsonl``, without the `damaged` lines; fingerprint: of the data that it was started with, None
    where it kept none.
    """

    run: Run
    loaded: LoadedConfig
    rows: Sequence[Row]
    damaged: int
    fingerprint: DataFingerprint | None

    @classmethod
    def read(cls, directory: Path) -> RunRecord:
        """Read the files of a run.

        Raises:
            UsageError: no run there; ConfigError: its configuration does not hold.
        """
        run = Run.open(directory)
        loaded = load_config(str(run.config))
        rows = read_metrics(run.metrics)
        return cls(run, loaded, rows, _count_lines(run.metrics) - len(rows), DataFingerprint.read(run.data))

    @cached_property
    def train(self) -> list[Row]:
        """Rows of the training itself."""
        return [row for row in self.rows if row["kind"] == "train"]

    @cached_property
    def scores(self) -> list[Row]:
        """Rows of evaluations, of all models."""
        return [
            row
            for row in self.rows
            if row["kind"] == "eval" and isinstance(row.get("model"), str) and find_number(row, "miou") is not None
        ]

    @cached_property
    def held_out(self) -> list[Row]:
        """Rows of evaluations on labelled images that were kept aside."""
        return [row for row in self.rows if row["kind"] == "held_out" and find_number(row, "miou") is not None]

    @cached_property
    def model(self) -> str | None:
        """The model that decides which step is the best; None in a run without evaluation."""
        marked = next((row for row in self.scores if row.get("best")), None)
        first = marked or next(iter(self.scores), None)
        return None if first is None else str(first["model"])

    @property
    def models(self) -> list[str]:
        """All models that were evaluated, the one that decides first."""
        return sorted({str(row["model"]) for row in self.scores}, key=lambda name: (name != self.model, name))

    def of_model(self, model: str | None) -> list[Row]:
        """Evaluations of one model, in their order."""
        return [row for row in self.scores if row["model"] == model]

    @property
    def last(self) -> Row | None:
        """The last evaluation."""
        return next(iter(self.of_model(self.model)[::-1]), None)

    @property
    def best(self) -> Row | None:
        """The evaluation with the highest mIoU, the earliest among equals."""
        return max(self.of_model(self.model), key=lambda row: float(row["miou"]), default=None)

    @property
    def step(self) -> int:
        """The last step that was logged; 0 before any."""
        return max((int(row["step"]) for row in self.rows), default=0)

    @property
    def is_finished(self) -> bool:
        """Whether it ran to its end, after which the weights for prediction are written."""
        return self.run.model.is_file()

    @property
    def seconds(self) -> float:
        """Time of training and evaluation; the rows of training hold the time of all evaluations but the last."""
        logged = self.train[-1]["step"] if self.train else 0
        timed = [*self.train, *(row for row in (*self.scores, *self.held_out) if row["step"] >= logged)]
        return sum(find_number(row, "wall/seconds") or 0.0 for row in timed)

    @property
    def names(self) -> list[str]:
        """Classes in the order of their ids, of the last evaluation; empty in a run without one."""
        iou = self.last.get("iou") if self.last else None
        return [str(name) for name in iou] if isinstance(iou, Mapping) else []

    @property
    def images(self) -> dict[str, int]:
        """Number of images of each stream; empty where it is not known."""
        return {} if self.fingerprint is None else {name: len(ids) for name, ids in self.fingerprint.marks.items()}

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions and hardware; empty where they are not known."""
        try:
            found = parse_json((self.run.directory / "env.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def commands(self) -> list[str]:
        """The commands that started and resumed it."""
        try:
            text = (self.run.directory / "command.txt").read_text("utf-8", errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()]


def find_number(row: Row, key: str) -> float | None:
    """A finite number of a row; None where there is something else."""
    value = row.get(key)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None  # type: ignore[arg-type]


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with open_regular(path) as file:
        return sum(1 for line in file if line.strip(b"\r\n"))
