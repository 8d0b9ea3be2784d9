"""Cases of a target, one after the other in a process of their own; a new one where it dies or hangs."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz.case import HUNG, Bench, Outcome
from benchmarks.fuzz.targets import TARGETS

#: Seconds for a start, and seconds after its own alarm that a case is waited for.
_START, _SPARE = 120.0, 20.0
#: Bytes of address space beyond those of the loaded program.
_SPACE = 2 * 2**30


class _Reader:
    """A copy of this process that reads cases of one target: told numbers, it answers lines of JSON."""

    def __init__(self, target: str, seed: str, folder: Path) -> None:
        (asked, self._ask), (self._out, answers) = os.pipe(), os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(self._ask)
            os.close(self._out)
            _read_forever(target, seed, folder, asked, answers)
        os.close(asked)
        os.close(answers)
        self._answers = os.fdopen(self._out, "rb")
        self.status = 0
        if self._answer(_START) is None:
            raise RuntimeError(f"{target}: its process does not start; run with --only {target} --case 0")

    def ask(self, number: int) -> dict[str, Any] | None:
        """What came of a case; None if the process hung or died, and is gone now."""
        os.write(self._ask, f"{number}\n".encode())
        return self._answer(HUNG + _SPARE)

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        line = self._answers.readline() if select.select([self._answers], [], [], seconds)[0] else b""
        if not line:
            self.close()
            return None
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process, if it did not end by itself."""
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
            self.process = 0
            os.close(self._ask)
            self._answers.close()


def _read_forever(target: str, seed: str, folder: Path, asked: int, answers: int) -> None:
    """Read cases until there is no more number; does not return."""
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        for standard in (1, 2):  # decoders print there
            os.dup2(quiet, standard)
        bench = Bench(TARGETS[target], folder)
        used = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _SPACE, used + _SPACE))
        os.write(answers, b"{}\n")
        for line in os.fdopen(asked, "rb"):
            number = int(line)
            found = asdict(bench.run(bench.make(seed, number), seed, number))
            os.write(answers, json.dumps(found).encode() + b"\n")
    finally:
        os._exit(1)


def run_cases(target: str, seed: str, count: int, until: float) -> Iterator[Outcome]:
    """Outcomes of cases 0 … count - 1; ends early at the time `until` (`time.monotonic`)."""
    with tempfile.TemporaryDirectory() as root:
        reader = _Reader(target, seed, Path(root) / "0" / "case")
        try:
            for number in range(count):
                if time.monotonic() > until:
                    return
                found = reader.ask(number)
                if found is not None:
                    yield Outcome(**found)
                    continue
                yield Outcome(target, seed, number, "wrong", f"the process hung or died (status {reader.status})")
                reader = _Reader(target, seed, Path(root) / f"{number + 1}" / "case")
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
