"""Numbers and pictures for Weights & Biases, or with ``WANDB_MODE=offline`` for its files in the run directory.

Its own variables hold: WANDB_PROJECT (else ``semiovs``), WANDB_ENTITY, WANDB_MODE, WANDB_DIR, WANDB_BASE_URL.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from semiovs.loggers.logger import LoggedRun

log = logging.getLogger(__name__)

_NAME = "wandb"
#: The axis of every curve. W&B's own counter only grows, and would drop what a resumed run writes again.
_AXIS = "step"


class WandbLogger:
    """One run there for one run here; a resumed run goes on under the same id."""

    def __init__(self, run: LoggedRun) -> None:
        import wandb

        before = run.recall(_NAME)
        self._wandb = wandb
        self._run: Any = wandb.init(
            id=before.get("id") or uuid.uuid4().hex[:12],
            project=before.get("project") or os.environ.get("WANDB_PROJECT") or "semiovs",
            entity=before.get("entity") or os.environ.get("WANDB_ENTITY") or None,
            name=run.name,
            group=run.group,
            dir=os.environ.get("WANDB_DIR") or str(run.directory),
            resume="allow",
            reinit="create_new",  # a run that the calling program has open is none of ours
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.config.update(dict(run.settings), allow_val_change=True)
        self._run.define_metric(_AXIS)
        self._run.define_metric("*", step_metric=_AXIS)
        run.keep(_NAME, id=self._run.id, project=self._run.project or "", entity=self._run.entity or "")
        if getattr(self._run, "offline", False):  # where asking for its address is a warning
            log.info("logged to wandb as run %s, offline: wandb sync %s", self._run.id, Path(self._run.dir).parent)
        else:
            log.info("logged to wandb as %s", self._run.url)

    def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers."""
        self._run.log({**values, _AXIS: step})

    def write_image(self, step: int, name: str, picture: Image.Image) -> None:
        """Log a picture."""
        self._run.log({name: self._wandb.Image(picture), _AXIS: step})

    def close(self, *, finished: bool) -> None:
        """Send what is left; the run counts as failed there unless it is finished."""
        self._run.finish(exit_code=0 if finished else 1)
