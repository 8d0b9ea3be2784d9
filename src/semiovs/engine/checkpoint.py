"""Write checkpoints atomically with checksums, and load the newest valid one."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from semiovs.errors import WeightsError
from semiovs.files import atomic_write, sweep_temporaries, temporary_beside, write_text
from semiovs.models.weights import checksum_file, read_checkpoint

log = logging.getLogger(__name__)

_BEST_STEPS = "best-steps.txt"
_NAME = re.compile(r"step-(\d{8,})\.pt")
#: What earlier versions left behind when they were killed while they linked: the process's number behind the name.
OLD_TEMPORARY = re.compile(r"(last|best)\.pt\.\d+")

_GIB = 2**30


@dataclass(frozen=True)
class Retention:
    """What is kept among the checkpoints `step-*.pt` of a run; `best.pt` always stays, and so does the newest.

    last: the newest so many; every: those at multiples of it; best: the last so many that were the best when they were
    scored; most_gib: GiB that they may take together, whatever the other rules keep.
    """

    last: int = 2
    every: int | None = None
    best: int | None = None
    most_gib: float | None = None

    def choose_removed(self, sizes: Mapping[int, int], best: Sequence[int]) -> list[int]:
        """Steps whose checkpoints go, oldest first.

        sizes: step -> bytes of its checkpoint; best: steps that were the best when they were scored, in order.
        """
        steps = sorted(sizes)
        kept = {*steps[-self.last :], *(best[-self.best :] if self.best else ())}
        kept |= {step for step in steps if self.every and step % self.every == 0}
        removed = [step for step in steps if step not in kept]
        left = [step for step in steps if step in kept]
        if self.most_gib is not None:
            while len(left) > 1 and sum(sizes[step] for step in left) > self.most_gib * _GIB:
                removed.append(left.pop(0))
        return removed


class Checkpoints:
    """Directory with `step-%08d.pt`, a `.sha256` beside each, `last.pt` (a link) and `best.pt`.

    `retention` says which are kept. Where it keeps former best ones, `best-steps.txt` lists them.
    """

    def __init__(self, directory: Path, retention: Retention | None = None) -> None:
        self.directory = directory
        self.retention = retention or Retention()

    def sweep(self) -> None:
        """Remove half-written files of a killed process; called once at the start, by the only writer."""
        removed = sweep_temporaries(self.directory)
        for path in self.directory.glob("*.pt.*"):
            if OLD_TEMPORARY.fullmatch(path.name):
                with suppress(OSError):
                    path.unlink()
                    removed += 1
        for path in self.directory.glob("step-*.pt.sha256"):
            if not path.with_suffix("").exists():  # it was killed before the checkpoint came, or after it went
                with suppress(OSError):
                    path.unlink()
                    removed += 1
        if removed:
            log.info("removed %d half-written file(s) of a killed process from %s", removed, self.directory)

    def continue_from(self, step: int, best: int | None) -> None:
        """Make the directory agree with a run that goes on after `step`, whose best evaluation was at step `best`.

        Later checkpoints, which `load_newest` found damaged, are set aside; `last.pt` and `best.pt` are linked anew
        where a killed process left those of an earlier step. Raises WeightsError as `save`.
        """
        for later in [later for later in self.steps() if later > step]:
            path = self.path(later)
            with suppress(OSError):
                path.replace(path.with_name(f"{path.name}.damaged"))
                checksum_file(path).unlink(missing_ok=True)
                log.warning("%s is damaged; set aside as %s.damaged", path, path.name)
        if self.path(step).exists():
            self._link(self.path(step), self.directory / "last.pt")
        if best is None:
            return
        self._remember_best(best)
        if self._find_step(self.directory / "best.pt") == best:
            return
        if self._find_step(self.path(best)) != best:
            log.warning("%s: the checkpoint of the best evaluation (step %d) is gone", self.directory / "best.pt", best)
            return
        try:
            self._copy(self.path(best), self.directory / "best.pt")
        except OSError as error:
            raise WeightsError(f"{self.directory / 'best.pt'}: cannot be written: {error}") from error
        log.info("best.pt is the checkpoint of step %d again; a killed process had left another", best)

    def _find_step(self, path: Path) -> int | None:
        """Step of a checkpoint; None if it is missing or damaged."""
        try:
            return int(read_checkpoint(path, checksum_required=True)["step"])
        except (WeightsError, KeyError, TypeError, ValueError):
            return None

    def path(self, step: int) -> Path:
        """File of the checkpoint after `step` optimiser steps."""
        return self.directory / f"step-{step:08d}.pt"

    def steps(self) -> list[int]:
        """Steps that have a file, in order."""
        found = (_NAME.fullmatch(entry.name) for entry in self.directory.glob("step-*.pt"))
        return sorted(int(match[1]) for match in found if match)

    def save(self, state: Mapping[str, Any], step: int, *, best: bool = False) -> Path:
        """Write `state` for `step`; the checksum file is written before the checkpoint gets its name.

        Raises:
            WeightsError: the disk is full or not writable; earlier checkpoints are untouched.
        """
        path = self.path(step)
        try:
            with atomic_write(path) as file:
                hashing = _HashingFile(file)
                hashing.save(state)
                write_text(checksum_file(path), f"{hashing.hexdigest()}  {path.name}\n")
            self._link(path, self.directory / "last.pt")
            if best:
                self._copy(path, self.directory / "best.pt")
                self._remember_best(step)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"{path}: the checkpoint could not be written: {error}; earlier ones are intact"
            ) from error
        self._remove_old(step)
        return path

    def newest_path(self) -> Path | None:
        """Path of the newest checkpoint, valid or not; None without any."""
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def load_newest(self) -> dict[str, Any] | None:
        """State of the newest valid checkpoint; None without any checkpoint. Damaged ones are logged.

        Raises:
            WeightsError: there are checkpoints and all of them are damaged.
        """
        candidates = [self.path(step) for step in reversed(self.steps())]
        if (self.directory / "best.pt").exists():
            candidates.append(self.directory / "best.pt")
        for path in candidates:
            try:
                return read_checkpoint(path, checksum_required=True)
            except WeightsError as error:
                log.warning("skipped a damaged checkpoint: %s", error)
        if candidates:
            raise WeightsError(
                f"{self.directory}: all {len(candidates)} checkpoints are damaged (see the log above); start anew with "
                "semiovs train --overwrite, or restore one from a backup"
            )
        return None

    def _link(self, target: Path, link: Path) -> None:
        temporary = temporary_beside(link)
        try:
            temporary.symlink_to(target.name)
        except OSError:  # a file system without symbolic links
            os.link(target, temporary)
        temporary.replace(link)

    def _copy(self, target: Path, copy: Path) -> None:
        """Let `copy` be `target`; its checksum file holds both checksums meanwhile, so that it is valid at every
        moment.
        """
        sidecar = checksum_file(copy)
        line = f"{checksum_file(target).read_text('utf-8').split()[0]}  {copy.name}\n"
        before = sidecar.read_text("utf-8", errors="replace") if sidecar.is_file() else ""
        write_text(sidecar, line + before)
        temporary = temporary_beside(copy)
        try:
            os.link(target, temporary)  # costs no space, and stays when the target is retired
        except OSError:
            shutil.copyfile(target, temporary)
        temporary.replace(copy)
        write_text(sidecar, line)

    def _remember_best(self, step: int) -> None:
        """Note that `step` was the best so far; later ones are not of this run's course."""
        if self.retention.best and self._list_best()[-1:] != [step]:
            before = [str(each) for each in self._list_best() if each < step]
            write_text(self.directory / _BEST_STEPS, "\n".join([*before, str(step)]) + "\n")

    def _list_best(self) -> list[int]:
        """Steps that were the best when they were scored, as far as they were remembered."""
        try:
            words = (self.directory / _BEST_STEPS).read_text("utf-8", errors="replace").split()
        except OSError:
            return []
        return [int(word) for word in words if word.isascii() and word.isdigit()]

    def _remove_old(self, newest: int) -> None:
        """Remove what `retention` does not keep up to step `newest`; later ones are not of this run's course."""
        sizes = {}
        for step in self.steps():
            with suppress(OSError):
                if step <= newest:
                    sizes[step] = self.path(step).stat().st_size
        for step in self.retention.choose_removed(sizes, self._list_best()):
            for path in (self.path(step), checksum_file(self.path(step))):
                with suppress(OSError):  # a file that cannot be removed is no reason to stop training
                    path.unlink()


class _HashingFile:
    """A file that computes the SHA-256 of everything written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._failure: OSError | None = None

    def save(self, state: Mapping[str, Any]) -> None:
        try:
            torch.save(dict(state), cast("IO[bytes]", self))
        except RuntimeError as error:  # torch's writer hides the OSError
            raise self._failure or error from None

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self._failure = error
            raise

    def flush(self) -> None:
        self._file.flush()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
