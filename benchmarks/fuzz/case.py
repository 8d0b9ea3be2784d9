"""Run one case: what came of it, how long it took, how much memory it needed at its height."""

from __future__ import annotations

import gc
import os
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from benchmarks.fuzz.mutators import make_case
from benchmarks.fuzz.target import Target
from semiovs.errors import SemiovsError

#: Limits of a case: CPU seconds, bytes of memory beyond what was there before, seconds until it counts as hung.
SECONDS, GROWTH, HUNG = 1.0, 200 * 2**20, 20.0
#: Bytes of memory that each pixel of a picture may take, beyond that.
_BYTES = 16
_SLOW = "slow: "
_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Hung(BaseException):
    """The alarm went off; no `except Exception` of a reader takes it for damage."""


@dataclass(frozen=True)
class Outcome:
    """kind: read, refused or wrong; what: of the error; seconds: of the CPU; growth: bytes of memory at its height."""

    target: str
    seed: str
    number: int
    kind: str
    what: str = ""
    seconds: float = 0.0
    growth: int = 0


@dataclass
class Bench:
    """A target, ready to read cases in `folder`."""

    target: Target
    folder: Path
    seeds: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        os.environ["SEMIOVS_CACHE_DIR"] = str(self.folder / "cache")
        self.seeds = self.target.prepare(self.folder)
        for _ in range(2):  # imports and first uses are not of a case
            for seed in self.seeds:
                if (found := self.run(seed, "valid", 0)).kind == "wrong" and not found.what.startswith(_SLOW):
                    raise RuntimeError(f"{self.target.name}: a valid file is not read: {found.what}")

    def make(self, seed: str, number: int) -> bytes:
        """The bytes of case `number`."""
        return make_case(self.target.form, self.seeds, Random(f"{seed}/{self.target.name}/{number}"))

    def run(self, data: bytes, seed: str, number: int, *, least: float = SECONDS) -> Outcome:
        """Write `data` where the target reads it, and read it. least: CPU seconds from which on it is wrong.

        What is slow is read once more, because CPU time grows under load, and the faster reading counts.
        """
        found = self._run_once(data, seed, number, least)
        if found.what.startswith(_SLOW):
            again = self._run_once(data, seed, number, least)
            found = min(found, again, key=lambda one: one.seconds) if again.what.startswith(_SLOW) else again
        return found

    def _run_once(self, data: bytes, seed: str, number: int, least: float) -> Outcome:
        path = self.folder / self.target.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        beside = sorted(self.folder.parent.iterdir())
        before, begin = _reset_peak(), time.process_time()
        kind, what = "read", ""
        try:
            with _alarm(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.target.read(path)
        except SemiovsError as error:
            kind, what = "refused", str(error)
            if error.exit_code == 1 or not what.strip():
                kind, what = "wrong", f"no exit code or no message: {error!r:.300}"
        except (Exception, Hung) as error:
            kind, what = "wrong", _describe(error)
        seconds, growth = time.process_time() - begin, max(_read_peak() - before, 0)
        if kind != "wrong" and sorted(self.folder.parent.iterdir()) != beside:
            kind, what = "wrong", "wrote beside its folder"
        if kind != "wrong" and seconds > least:
            kind, what = "wrong", f"{_SLOW}{seconds:.1f} s ({kind})"
        if kind != "wrong" and growth > GROWTH + _count_claimed(path, self.target.form):
            kind, what = "wrong", f"memory: {growth / 2**20:.0f} MB ({kind})"
        return Outcome(self.target.name, seed, number, kind, what[:600], round(seconds, 4), growth)


def _count_claimed(path: Path, form: str) -> int:
    """Bytes for the pixels that a picture claims, within Pillow's limit: a tiny file may rightly be all blue."""
    if form not in {"picture", "tiff"}:
        return 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _BYTES * image.width * image.height
    except Exception:  # decoders raise many kinds
        return 0


def _describe(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "/semiovs/" in frame.filename]
    place = own[-1] if own else last
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {str(error)[:200]!r}"


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Hung(f"not done after {HUNG:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HUNG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reset_peak() -> int:
    """Bytes of memory that are used now; from here on the peak is counted anew (Linux; 0 elsewhere)."""
    if not _REFS.exists():
        return 0
    gc.collect(0)
    _REFS.write_text("5")
    return _read("VmRSS")


def _read_peak() -> int:
    return _read("VmHWM") if _REFS.exists() else 0


def _read(name: str) -> int:
    line = next(line for line in _STATUS.read_text("utf-8").splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
