"""Progress of long commands, its lines printed like every other message."""

from __future__ import annotations

from functools import partial

from semiovs.cli.console import log
from semiovs.progress import Progress, show_progress

__all__ = ["Progress", "progress"]

progress = partial(show_progress, say=log)
