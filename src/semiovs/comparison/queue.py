"""What a queue of trainings has to say of itself, so that workers can train it: a comparison's plan is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from semiovs.config import LoadedConfig


class Training(Protocol):
    """One training of a queue; equal ones are the same, and it can be sent to another process."""

    @property
    def name(self) -> str:
        """Unique in its queue: its folder in ``runs/``."""


class Queue(Protocol):
    """Trainings below one folder; it can be sent to another process."""

    @property
    def root(self) -> Path:
        """The folder of all of them."""

    @property
    def command(self) -> Sequence[str]:
        """The words of the verb that trains them, for the runs' files."""

    def cells(self) -> Sequence[Training]:
        """All of them, in the order in which they are begun."""

    def directory(self, cell: Any, /) -> Path:
        """The run directory of a training."""

    def load(self, cell: Any, further: Sequence[str] = (), /) -> LoadedConfig:
        """The configuration of a training; further: ``key=value`` on top."""

    def steps_of(self, cell: Any, /) -> int:
        """Optimiser steps of a training."""
