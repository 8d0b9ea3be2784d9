"""What a logger is, and what it is told of the run that it logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from semiovs.files import write_json


class Logger(Protocol):
    """A sink for numbers and pictures over steps; whatever it raises is told once, and never ends a training.

    Made as `MyLogger(run)` with a `LoggedRun`, on rank 0 alone.
    """

    def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers by name, like ``train/loss``; some may not be finite."""

    def write_image(self, step: int, name: str, picture: Image.Image) -> None:
        """Take one small RGB picture."""

    def close(self, *, finished: bool) -> None:
        """Take no more. finished: whether the training came to its end; else it was stopped, or failed."""


@dataclass(frozen=True)
class LoggedRun:
    """A run as its loggers see it.

    after_step: the last step before a resumed run goes on, 0 in a new one; settings: dotted key -> value of the
    configuration.
    """

    directory: Path
    after_step: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call it."""
        return self.directory.resolve().name

    @property
    def group(self) -> str:
        """What to call it together with the runs beside it."""
        return self.directory.resolve().parent.name

    def recall(self, logger: str) -> dict[str, str]:
        """What `keep` kept; empty in a new run."""
        found = self._read().get(logger)
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def keep(self, logger: str, **marks: str) -> None:
        """Keep in the run directory how the other side knows this run, so that a resumed one goes on there."""
        write_json(self._marks, {**self._read(), logger: marks})

    @property
    def _marks(self) -> Path:
        return self.directory / "loggers.json"

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._marks.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
