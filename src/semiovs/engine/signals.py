"""Polite stops: the first signal asks for a checkpoint at the next step boundary, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from semiovs.errors import InterruptedRunError, PreemptedError, SemiovsError

#: Signals that schedulers send before they take the machine away; Windows has only the first.
_PREEMPTIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Signals:
    """While entered, remembers SIGTERM, SIGUSR1 (exit code 75 after a checkpoint) and SIGINT (130); then restores the handlers.

    A second signal ends the process at once with 128 + its number, without a checkpoint.
    """

    def __init__(self) -> None:
        self.received = 0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # Python delivers signals to the main thread only
        for number in (*_PREEMPTIONS, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader's worker: its parent decides
            return
        if self.received:
            os._exit(128 + number)
        self.received = number


def stop_error(number: int, where: str) -> SemiovsError:
    """What a run that was stopped by signal `number` raises once `where` is written."""
    name = signal.Signals(number).name
    kind = InterruptedRunError if number == signal.SIGINT else PreemptedError
    return kind(f"stopped by {name}; {where}")
