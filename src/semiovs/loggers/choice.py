"""Which loggers a run has, and the rows of its metrics as their numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from PIL import Image

from semiovs.config.run_section import RunSection
from semiovs.env import offline
from semiovs.errors import MissingExtraError, UsageError
from semiovs.loggers.guarded import GuardedLogger
from semiovs.loggers.logger import LoggedRun
from semiovs.registry import LOGGERS

#: The logger of a run that names none, where it is installed.
_DEFAULT = "tensorboard"


def choose_loggers(config: RunSection) -> tuple[str, ...]:
    """Names of the loggers of a run.

    Raises:
        MissingExtraError: one that is asked for needs a package that is not installed; UsageError: with
        `SEMIOVS_OFFLINE`, one that would send to a server.
    """
    names = config.loggers
    if names is None:
        return (_DEFAULT,) if _is_installed(_DEFAULT) else ()
    if offline():
        _require_local(names)
    for name in names:
        # Those of semiovs are called as their package and their extra are; a plug-in is there once it is known.
        if not LOGGERS[name].package and not _is_installed(name):
            raise MissingExtraError(f"run.log: '{name}' is not installed; pip install 'semiovs[{name}]'")
    return names


def _require_local(names: Sequence[str]) -> None:
    """Raise UsageError for a logger that would send to a server."""
    if "wandb" in names and os.environ.get("WANDB_MODE") not in ("offline", "disabled"):
        raise UsageError(
            "run.log: wandb sends to a server, but SEMIOVS_OFFLINE is set; WANDB_MODE=offline keeps its files here"
        )
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "mlflow" in names and urlsplit(address).scheme not in ("", "file", "sqlite"):
        raise UsageError(
            "run.log: MLFLOW_TRACKING_URI names a server, but SEMIOVS_OFFLINE is set; unset it for MLflow's local store"
        )


def _is_installed(package: str) -> bool:
    """A folder of that name, such as W&B leaves behind, is no package."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


class Loggers(AbstractContextManager["Loggers"]):
    """All loggers of a run; takes rows of the metrics, as every writer does. Entered, and left at the end."""

    def __init__(self, names: Sequence[str], run: LoggedRun) -> None:
        self._loggers = [GuardedLogger(name, partial(_make, name, run)) for name in names]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for logger in self._loggers:
            logger.close(finished=kind is None)

    def write(self, row: Mapping[str, Any]) -> None:
        """Hand on the numbers of a row of training or evaluation, also those of each class."""
        prefix = "train" if row["kind"] == "train" else f"{row['kind']}/{row['model']}"
        values = {f"{prefix}/{name}": value for name, value in _flatten(row).items()}
        for logger in self._loggers:
            logger.write_scalars(row["step"], values)

    def write_images(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        """Hand on pictures by name."""
        for name, picture in pictures.items():
            for logger in self._loggers:
                logger.write_image(step, name, picture)


def _make(name: str, run: LoggedRun) -> Any:
    return LOGGERS[name].load()(run)


def _flatten(row: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in row.items():
        inner = {f"{key}/{name}": v for name, v in value.items()} if isinstance(value, Mapping) else {key: value}
        found |= {name: v for name, v in inner.items() if isinstance(v, float)}
    return found
