"""A logger that fails without harm: its first failure is one warning, and the training goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from PIL import Image

from semiovs.loggers.logger import Logger

log = logging.getLogger(__name__)

#: Seconds that a logger which has failed is left alone: a lost network may cost a minute at each attempt.
PAUSE = 300.0


class GuardedLogger:
    """Opens a logger, and hands everything on to it; after a failure it tries again after `PAUSE` seconds.

    Rows that come meanwhile are not kept for it: ``metrics.jsonl`` has them all.
    """

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        self._name, self._make = name, make
        self._logger: Logger | None = None
        self._told, self._rest_until = False, 0.0
        self._try(lambda _: None)

    def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers."""
        self._try(lambda logger: logger.write_scalars(step, values))

    def write_image(self, step: int, name: str, picture: Image.Image) -> None:
        """Take a picture."""
        self._try(lambda logger: logger.write_image(step, name, picture))

    def close(self, *, finished: bool) -> None:
        """Close it, if it was ever opened."""
        if self._logger is not None:
            self._try(lambda logger: logger.close(finished=finished))

    def _try(self, action: Callable[[Logger], None]) -> None:
        if time.monotonic() < self._rest_until:
            return
        try:
            if self._logger is None:
                self._logger = self._make()
            action(self._logger)
        except Exception as error:  # whatever it is, no logger is worth a training
            self._rest_until = time.monotonic() + PAUSE
            if not self._told:
                self._told = True
                log.warning(
                    "run.log: %s failed (%s); training goes on, metrics.jsonl has every number, and %s is tried again "
                    "every %.0f minutes",
                    self._name,
                    _describe(error),
                    self._name,
                    PAUSE / 60,
                )


def _describe(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
