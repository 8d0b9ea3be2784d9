"""Curves and pictures for TensorBoard, in the run directory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from semiovs.loggers.logger import LoggedRun


class TensorBoardLogger:
    """Event files in ``tensorboard/`` of the run."""

    def __init__(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Hide events after the checkpoint of a killed run; they are written again.
        purge = run.after_step + 1 if run.after_step else None
        self._events = SummaryWriter(str(run.directory / "tensorboard"), purge_step=purge)

    def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()

    def write_image(self, step: int, name: str, picture: Image.Image) -> None:
        """Add a picture."""
        self._events.add_image(name, np.asarray(picture), step, dataformats="HWC")
        self._events.flush()

    def close(self, *, finished: bool) -> None:  # noqa: ARG002
        """Write what is left."""
        self._events.close()
