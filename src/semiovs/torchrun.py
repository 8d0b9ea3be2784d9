"""`python -m semiovs.torchrun OPTIONS -m semiovs train …`: torchrun with the exit codes and signals of `semiovs`.

`torchrun` takes the same words. It ends with 1 whatever its processes ended with, begins processes again that were
asked to stop or that met a mistake in the configuration, and kills what has not ended 30 s after a signal. Here SIGTERM
and SIGUSR1 reach the ranks, which save a checkpoint in the time they need; the exit code is theirs (75 after these
signals, 130 after SIGINT); and only what a new beginning may mend is begun again (`--max-restarts`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from semiovs.errors import ConfigError, DataError, DivergedError, InterruptedRunError, PreemptedError, WeightsError
from semiovs.launch_notes import VARIABLE, LaunchNotes

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
_MISTAKES = tuple(error.exit_code for error in (ConfigError, DataError, WeightsError, DivergedError))
#: A rank that ended so would end so again, or was asked to end: it is not begun again.
_FINAL = (*_MISTAKES, PreemptedError.exit_code, InterruptedRunError.exit_code)
_PAUSE = 0.1


class Launch:
    """A `torchrun` process and its ranks on this machine.

    command: begins the ranks with the environment of this process and `SEMIOVS_LAUNCH`.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._notes = LaunchNotes(folder)
        self._signals: list[int] = []
        self._received = 0
        # a session of its own: a signal of the terminal comes to the ranks once, and not to torchrun, which would kill
        # them after 30 s
        self._process = subprocess.Popen(command, env={**os.environ, VARIABLE: str(folder)}, start_new_session=True)

    def take(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal."""
        self._received = self._received or number
        self._signals.append(number)

    def wait(self) -> int:
        """Exit code of the launch, once all its ranks on this machine have ended."""
        while True:
            ended = self._process.poll() is not None  # by a signal that came to all processes, perhaps before its ranks
            ranks = self._notes.processes()
            if ended and ranks and not self._notes.is_stopping():
                self.take(signal.SIGTERM)  # torchrun was killed: nobody would begin them again
            self._forward()
            if not ranks and (ended or self._notes.is_stopping()):
                self._process.kill()  # nothing is left that it would have to end
                break
            time.sleep(_PAUSE)
        status, code = self._process.wait(), self._notes.code()
        if status == 0:
            return 0
        if self._received:
            asked = InterruptedRunError if self._received == signal.SIGINT else PreemptedError
            return code if code in _MISTAKES else asked.exit_code
        return code or (128 - status if status < 0 else status)

    def _forward(self) -> None:
        if self._notes.code() in _FINAL:
            self._notes.stop()
        while self._signals:
            number = self._signals.pop(0)
            self._notes.stop()
            for process in self._notes.processes():
                with suppress(ProcessLookupError):
                    os.kill(process, number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Launch; returns the exit code."""
    command = [sys.executable, "-m", "torch.distributed.run", *(sys.argv[1:] if arguments is None else arguments)]
    with tempfile.TemporaryDirectory(prefix="semiovs-launch-") as folder:
        launch = Launch(command, Path(folder))
        for number in _SIGNALS:
            signal.signal(number, launch.take)
        return launch.wait()


if __name__ == "__main__":
    sys.exit(main())
