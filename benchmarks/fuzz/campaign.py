"""Cases of a target, one after the other in a process of their own; a new one where it dies or hangs."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fuzz.case import HUNG, Outcome

#: Seconds for a start, and seconds after its own alarm that a case is waited for.
_START, _SPARE = 300.0, 20.0


class _Reader:
    """A child that reads cases of one target."""

    def __init__(self, target: str, seed: str) -> None:
        command = [sys.executable, "-m", "benchmarks.fuzz.child", target, seed]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._answer(_START) is None:
            raise RuntimeError(f"{target}: its process does not start; run {' '.join(command)}")

    def ask(self, number: int) -> dict[str, Any] | None:
        """What came of a case; None if the process hung or died, and is gone now."""
        if self.process.stdin is None:
            return None
        self.process.stdin.write(f"{number}\n".encode())
        self.process.stdin.flush()
        return self._answer(HUNG + _SPARE)

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        out = self.process.stdout
        if out is None or not select.select([out], [], [], seconds)[0]:
            self.close()
            return None
        line = out.readline()
        if not line:
            self.close()
            return None
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> int:
        """End the process; its exit status."""
        self.process.kill()
        return self.process.wait()


def run_cases(target: str, seed: str, count: int, until: float) -> Iterator[Outcome]:
    """Outcomes of cases 0 … count - 1; ends early at the time `until` (`time.monotonic`)."""
    reader = _Reader(target, seed)
    try:
        for number in range(count):
            if time.monotonic() > until:
                return
            found = reader.ask(number)
            if found is not None:
                yield Outcome(**found)
                continue
            status = reader.process.returncode
            yield Outcome(target, seed, number, "wrong", f"the process hung or died (status {status}, -9: stopped by us)")
            reader = _Reader(target, seed)
    finally:
        reader.close()


@dataclass
class Tally:
    """What came of the cases of one target."""

    target: str
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    largest: int = 0
    wrong: list[Outcome] = field(default_factory=list)

    def add(self, one: Outcome) -> None:
        """Count one case."""
        self.read += one.kind == "read"
        self.refused += one.kind == "refused"
        self.slowest, self.largest = max(self.slowest, one.seconds), max(self.largest, one.growth)
        if one.kind == "wrong":
            self.wrong.append(one)

    @property
    def cases(self) -> int:
        """All of them."""
        return self.read + self.refused + len(self.wrong)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        wrong = [{"seed": one.seed, "number": one.number, "what": one.what} for one in self.wrong]
        return {
            "target": self.target,
            "cases": self.cases,
            "read": self.read,
            "refused": self.refused,
            "wrong": wrong,
            "slowest_seconds": round(self.slowest, 3),
            "largest_growth_mb": round(self.largest / 2**20, 1),
        }


def quieten() -> None:
    """Environment of the children: one thread each."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
