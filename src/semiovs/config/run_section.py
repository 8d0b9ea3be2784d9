"""The section ``run`` of a configuration: where results go, and where a run is logged to."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from semiovs.config.section import Int, Section
from semiovs.registry import LOGGERS, lookup


def _expand_word(value: Any) -> Any:
    """Let ``log=wandb`` stand for ``log=[wandb]``."""
    return [value] if isinstance(value, str) else value


class RunSection(Section):
    """Where results go."""

    dir: str | None = Field(None, description="run directory; null: runs/<name>/<time>-<method>")
    name: str | None = Field(None, description="group of runs; null: the preset's or file's name")
    overwrite: bool = False
    log: Annotated[tuple[str, ...] | None, BeforeValidator(_expand_word)] = Field(
        None,
        description="where it is logged to beside its own files: a list of tensorboard, wandb, mlflow (extras of the "
        "same names; semiovs list loggers), [] for nowhere; null: tensorboard, where it is installed",
    )
    log_images: Int = Field(
        4, ge=0, le=64, description="`log`: evaluation images with their prediction at each evaluation, and OOD images"
    )
    tensorboard: bool | None = Field(None, description="older form of `log`: true is [tensorboard], false is []")

    @model_validator(mode="after")
    def _check_log(self) -> Self:
        if self.log is not None and self.tensorboard is not None:
            raise ValueError("tensorboard: is an older form of `log`; give `log` alone")
        for name in self.log or ():
            lookup(LOGGERS, name, kind="logger")
        return self

    @property
    def loggers(self) -> tuple[str, ...] | None:
        """`log`, each once, whichever way it was given."""
        if self.tensorboard is not None:
            return ("tensorboard",) if self.tensorboard else ()
        return None if self.log is None else tuple(dict.fromkeys(self.log))
