"""The checkpoints of a run: whole by their checksums, and last.pt and best.pt lead to what they should."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from semiovs.engine.checkpoint import Checkpoints
from semiovs.engine.run import Run
from semiovs.errors import WeightsError
from semiovs.files import sha256_of
from semiovs.integrity.inspection import Inspection, type_command
from semiovs.integrity.metric_rows import find_best
from semiovs.models.weights import checksum_file, read_checkpoint, read_checksums


class CheckpointFiles:
    """Looks into the folder of a run's checkpoints; a file that has several names is hashed once."""

    def __init__(self, run: Run, found: Inspection) -> None:
        self._run, self._found = run, found
        self._files = Checkpoints(run.checkpoints)
        self._digests: dict[tuple[int, int], str] = {}
        self.resume = type_command("resume", run.directory)
        #: Steps of the checkpoints that are whole.
        self.whole: list[int] = []

    def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """rows: of the metrics, which say when the best evaluation was."""
        steps = self._files.steps()
        wrong = {step: what for step in steps if (what := self._find_damage(self._files.path(step)))}
        self.whole = [step for step in steps if step not in wrong]
        best = self._run.checkpoints / "best.pt"
        damage = self._find_damage(best) if best.exists() else ""
        for step, what in wrong.items():
            self._found.add("damage", self._files.path(step), what, self._advise(step, best.exists() and not damage))
        if damage:
            self._found.add("damage", best, damage, self._advise(0, False))
        else:
            self._check_best(best, find_best(rows), steps)
        self._check_last(self._run.checkpoints / "last.pt", steps)
        self._note_remains()

    def _find_damage(self, path: Path) -> str:
        """What is wrong with a checkpoint by its checksum, or ""."""
        self._found.checked += 1
        try:
            recorded = read_checksums(path)
        except FileNotFoundError:
            if not path.exists():  # a training that goes on has removed both
                return ""
            return f"has no {checksum_file(path).name}, so that nobody knows whether it is whole"
        except OSError as error:
            return f"its checksum cannot be read: {error.strerror}"
        try:
            return "" if self._digest(path) in recorded else f"its SHA-256 is not that of {checksum_file(path).name}"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    def _digest(self, path: Path) -> str:
        there = path.stat()
        key = (there.st_dev, there.st_ino)
        if key not in self._digests:
            self._digests[key] = sha256_of(path)
        return self._digests[key]

    def _advise(self, step: int, best: bool) -> str:
        """The next command for a damaged checkpoint; best: whether best.pt is whole."""
        newest = self.whole[-1] if self.whole else None
        if newest is None:
            return self.resume if best else "# restore a checkpoint from a backup, or train again (--overwrite)"
        if step > newest:
            return self.resume
        return f"# restore it from a backup, or delete it: step {newest} is whole"

    def _check_last(self, last: Path, steps: Sequence[int]) -> None:
        """`last.pt` leads to the newest checkpoint."""
        if not steps:
            return
        if not last.exists():
            broken = f"leads to {last.readlink()}, which is not there" if last.is_symlink() else ""
            harm = "damage" if broken else "harmless"
            self._found.add(harm, last, broken or "is not there; `resume` makes it anew", self.resume)  # type: ignore[arg-type]
            return
        step = self._find_step(last, steps)
        if step is None:
            self._found.add("damage", last, "is none of the checkpoints beside it", self.resume)
        elif step != steps[-1]:
            what = f"leads to step {step}, but the newest is {steps[-1]}, as after a killed process"
            self._found.add("harmless", last, what, self.resume)

    def _find_step(self, path: Path, steps: Sequence[int]) -> int | None:
        """Which of the checkpoints beside it a file is: the same file, or the same bytes."""
        with suppress(OSError):  # one that a training removes meanwhile
            same = [step for step in steps if self._files.path(step).samefile(path)]
            same = same or [step for step in steps if self._digest(self._files.path(step)) == self._digest(path)]
            return same[0] if same else None
        return None

    def _check_best(self, path: Path, best: Mapping[str, Any] | None, steps: Sequence[int]) -> None:
        """`best.pt` is the checkpoint of the best evaluation."""
        newest = steps[-1] if steps else 0
        if not path.exists():
            if best is not None and best["step"] <= newest:
                what = f"is not there, but the best evaluation was at step {best['step']}"
                self._found.add("damage", path, what, self.resume)
            return
        try:
            step = self._find_step(path, steps) or int(read_checkpoint(path)["step"])
        except (WeightsError, KeyError, TypeError, ValueError) as error:
            self._found.add("damage", path, str(error), self.resume)
            return
        if best is not None and best["step"] != step:
            killed = best["step"] >= newest
            what = f"is of step {step}, but the best evaluation was at step {best['step']}"
            told = f"{what}, as after a killed process" if killed else what
            self._found.add("harmless" if killed else "damage", path, told, self.resume)

    def _note_remains(self) -> None:
        for path in sorted(self._run.checkpoints.glob("*.sha256")):
            if not path.with_name(path.name.removesuffix(".sha256")).exists():
                what = "a checksum without its checkpoint, as after a killed process"
                self._found.add("harmless", path, what, shlex.join(["rm", str(path)]))
        for path in sorted(self._run.checkpoints.glob("*.damaged")):
            what = "a damaged checkpoint that `resume` has set aside"
            self._found.add("harmless", path, what, shlex.join(["rm", str(path)]))
