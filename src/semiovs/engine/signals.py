"""Stop by signal: the first asks for a checkpoint at the next step, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from semiovs.engine.distributed import is_launched
from semiovs.engine.host import COMMAND, Host
from semiovs.errors import InterruptedRunError, PreemptedError, SemiovsError

#: Signals that schedulers send before preemption; Windows has only the first.
_PREEMPTIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))

#: Seconds within which a launcher forwards a signal.
_GRACE = 3.0


class StopSignals:
    """While entered, remembers SIGTERM, SIGUSR1 (exit code 75 after a checkpoint) and SIGINT (130); then restores the
    handlers.

    A second signal ends the process at once with 128 + its number, without a checkpoint. `torchrun` forwards to its
    processes what the terminal or the scheduler has sent them already: under it, what comes within `grace` seconds of
    the first signal is the same request. (The exit code of `torchrun` itself is its own.) In a program whose process is
    not ours to end (`Host.may_end`), the second signal raises KeyboardInterrupt.
    """

    def __init__(self, grace: float | None = None, *, host: Host = COMMAND) -> None:
        self.received = 0
        self.host = host
        self.grace = grace if grace is not None else (_GRACE if is_launched() else 0.0)
        self._at = 0.0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    @property
    def age(self) -> float:
        """Seconds since the first signal; 0 without one."""
        return time.monotonic() - self._at if self.received else 0.0

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
        if not self.received:
            self.received, self._at = number, time.monotonic()
        elif time.monotonic() - self._at >= self.grace:
            if not self.host.may_end:
                raise KeyboardInterrupt
            os._exit(128 + number)


def make_stop_error(number: int, where: str) -> SemiovsError:
    """The error that a run stopped by signal `number` raises; where: what was saved, for the message."""
    name = signal.Signals(number).name
    kind = InterruptedRunError if number == signal.SIGINT else PreemptedError
    return kind(f"stopped by {name}; {where}")
