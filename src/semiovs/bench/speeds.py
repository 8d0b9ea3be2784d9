"""What was measured, as plain values; torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LoaderSpeed:
    """Reading alone. seconds: of a batch (wall time), of as many images as a step of the configuration takes."""

    workers: int
    pipeline: str
    seconds: float


@dataclass(frozen=True)
class StepSpeed:
    """Learning alone, from a batch that is there.

    images: distinct ones a step, of all streams; seconds: of a step, None if there was none; memory_gib: peak, of the
    GPU or of this process; first_seconds: of the first step, in which a compiled model is compiled; problem: why there
    was no step.
    """

    batch_size: int
    precision: str
    compiled: bool
    images: int
    seconds: float | None
    memory_gib: float | None = None
    first_seconds: float | None = None
    problem: str | None = None

    @property
    def images_per_second(self) -> float:
        """0 if there was no step."""
        return self.images / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Speeds:
    """All measurements of one machine and training.

    device: as torch calls it; cores: that this process may use; memory_gib: of the device; batch_size, precision,
    pipeline, workers, steps: of the configuration, precision as `auto` is understood here; skipped: settings for which
    there was no time.
    """

    device: str
    cores: int
    memory_gib: float | None
    batch_size: int
    precision: str
    pipeline: str
    workers: int
    steps: int
    loader: Sequence[LoaderSpeed] = ()
    step: Sequence[StepSpeed] = ()
    skipped: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
