"""Numbers and pictures for MLflow: a server, or a local store, as MLFLOW_TRACKING_URI says.

MLFLOW_EXPERIMENT_NAME holds too (else ``semiovs``).
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
import time
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image

from semiovs.loggers.logger import LoggedRun

log = logging.getLogger(__name__)

_NAME, _WHERE = "mlflow", "MLFLOW_TRACKING_URI"
#: MLflow's limits: numbers and settings in one call, characters of a setting.
_NUMBERS, _SETTINGS, _CHARACTERS = 1000, 100, 500


class MlflowLogger:
    """One run there for one run here; a resumed run goes on under the same id."""

    def __init__(self, run: LoggedRun) -> None:
        import mlflow
        from mlflow.entities import Metric, Param

        before = run.recall(_NAME)
        self._make_number, self._make_setting = Metric, Param
        self._client: Any = mlflow.MlflowClient(None if os.environ.get(_WHERE) else before.get("uri"))
        if "id" in before:
            self._id = str(self._client.get_run(before["id"]).info.run_id)
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._create(run)
            # A server's address may hold a password, so that only a local store is kept.
            local = {} if os.environ.get(_WHERE) else {"uri": str(mlflow.get_tracking_uri())}
            run.keep(_NAME, id=self._id, **local)
        log.info("logged to mlflow as run %s", self._id)

    def _create(self, run: LoggedRun) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "semiovs"
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known is not None else self._client.create_experiment(name)
        made = self._client.create_run(experiment, run_name=run.name, tags={"group": run.group})
        settings = [self._make_setting(_clean(k), str(v)[:_CHARACTERS]) for k, v in run.settings.items()]
        for start in range(0, len(settings), _SETTINGS):
            self._client.log_batch(made.info.run_id, params=settings[start : start + _SETTINGS])
        return str(made.info.run_id)

    def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers."""
        now = int(1000 * time.time())
        numbers = [self._make_number(_clean(name), value, now, step) for name, value in values.items()]
        for start in range(0, len(numbers), _NUMBERS):
            self._client.log_batch(self._id, metrics=numbers[start : start + _NUMBERS])

    def write_image(self, step: int, name: str, picture: Image.Image) -> None:
        """Log a picture."""
        self._client.log_image(self._id, picture, key=_clean(name, re.ASCII), step=step)

    def close(self, *, finished: bool) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._id, status="FINISHED" if finished else "KILLED")


def _clean(name: str, flags: int = 0) -> str:
    """A name that MLflow takes: letters, digits, ``_-./`` and blanks, as a plain relative path.

    A name that had to be changed ends in its checksum, so that no two become one.
    """
    plain = re.sub(r"[^\w\-. /]", "_", name, flags=flags)
    if posixpath.normpath(plain) != plain or plain.startswith(("/", "..")):
        plain = plain.replace("/", "_").replace(".", "_")
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode()):08x}"
