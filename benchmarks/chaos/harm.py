"""What is done to a process from within, before the program runs: nothing in the program knows of it.

An audit hook of Python sees every file that is opened for writing, renamed, linked or removed below one folder; at the
N-th such event it kills the process, sends it a signal, or lets the call fail.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Position of the path that an event is about; of a renaming, where it goes to.
_PATHS = {"open": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.remove": 0, "os.mkdir": 0}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Harm:
    """strike: kill, signal, error (the call fails) or nothing; at: number of the event, from 1, among those below
    `folder` whose path ends in `match`; number: of the signal or error; delay: seconds from event to strike; twice: a
    second signal, or every later call fails as well; limits: RLIMIT_… and its value, of RLIMIT_AS what may be added;
    clock: seconds that the wall clock jumps at every third look; record: file that gets a line for each event;
    rank: the one of several that is harmed, before its launcher began it again (-1: not one of several).
    """

    folder: str = ""
    strike: str = ""
    at: int = 0
    match: str = ""
    number: int = 0
    delay: float = 0.0
    twice: bool = False
    limits: Mapping[str, int] = field(default_factory=dict)
    clock: float = 0.0
    record: str = ""
    rank: int = -1

    def __str__(self) -> str:
        parts = [f"{name}={limit}" for name, limit in self.limits.items()]
        parts += [f"clock {self.clock:+.0f} s"] if self.clock else []
        if self.strike:
            how = {"kill": "SIGKILL", "error": os.strerror(self.number)}.get(self.strike) or signal.Signals(
                self.number
            ).name
            where = f" of …{self.match}" if self.match else ""
            late = f" + {1000 * self.delay:.0f} ms" if self.delay else ""
            how += f" of rank {self.rank}" if self.rank >= 0 else ""
            parts.append(f"{how}{' twice' if self.twice else ''} at file event {self.at}{where}{late}")
        return ", ".join(parts) or "nothing"


def install(harm: Harm) -> None:
    """Prepare this process; its descendants by fork are spared the strike, though not the limits."""
    if harm.rank >= 0 and (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) != (str(harm.rank), "0"):
        return
    for name, limit in harm.limits.items():
        number = getattr(resource, name)
        most = limit + _address_space() if name == "RLIMIT_AS" else limit
        resource.setrlimit(number, (most, resource.getrlimit(number)[1]))
    if harm.clock:
        _move_clock(harm.clock)
    if harm.strike or harm.record:
        sys.addaudithook(_Hook(harm))


class _Hook:
    def __init__(self, harm: Harm) -> None:
        self._harm, self._seen, self._process = harm, 0, os.getpid()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._record = os.open(harm.record, flags) if harm.record else 2

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _PATHS or os.getpid() != self._process:
            return
        path = arguments[_PATHS[event]]
        if isinstance(path, int) or (event == "open" and not (arguments[2] or 0) & _WRITING):
            return
        name = os.fsdecode(path)
        if not name.startswith(self._harm.folder) or not name.endswith(self._harm.match):
            return
        self._seen += 1
        if self._harm.record:
            os.write(self._record, f"{event} {name}\n".encode())
        if self._harm.strike and (self._seen == self._harm.at or (self._seen > self._harm.at and self._strikes_on())):
            os.write(2, f"chaos: {self._harm.strike} at event {self._seen}: {event} {name}\n".encode())
            self._strike(name)

    def _strikes_on(self) -> bool:
        return self._harm.strike == "error" and self._harm.twice

    def _strike(self, name: str) -> None:
        if self._harm.strike == "error":
            raise OSError(self._harm.number, os.strerror(self._harm.number), name)
        if self._harm.delay:
            threading.Thread(target=self._send, daemon=True).start()
        else:
            self._send()

    def _send(self) -> None:
        time.sleep(self._harm.delay)
        number = signal.SIGKILL if self._harm.strike == "kill" else self._harm.number
        os.kill(self._process, number)
        if self._harm.twice:
            time.sleep(0.02)
            os.kill(self._process, number)


def _move_clock(seconds: float) -> None:
    """Let `time.time` jump by so many seconds and back."""
    real, looks = time.time, [0]

    def jumping() -> float:
        looks[0] += 1
        return real() + (seconds if looks[0] % 3 == 0 else 0.0)

    time.time = jumping


def _address_space() -> int:
    """Bytes of address space that this process has now."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
