"""Errors that users can cause: a message that says what, where and what to do, and a documented exit code."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Self


class SemiovsError(Exception):
    """Base of all expected errors; the command line prints only the message and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class UsageError(SemiovsError):
    """An invalid command, option or argument (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """An invalid configuration: unknown key, wrong type, contradicting values (exit code 2)."""


class ResourcesError(UsageError):
    """Memory or shared memory that this machine does not have; the message says which setting needs less (exit code
    2).
    """


class DataError(SemiovsError):
    """Images, masks, lists or stores that are missing or wrong (exit code 3).

    problems: one line for each problem; kind: a stable word for the kind of problem (those of `semiovs data check`).
    """

    exit_code = 3
    #: How many problems the message lists at most.
    shown: ClassVar[int] = 100

    def __init__(self, message: str, problems: Sequence[str] = (), *, kind: str = "") -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)
        self.kind = kind

    @classmethod
    def of(cls, problems: Sequence[str], heading: str | None = None) -> Self:
        """Build one error for all problems: a single one is the message, several are listed below the heading."""
        if len(problems) == 1:
            return cls(problems[0])
        lines = [f"{heading or f'{len(problems)} problems in the data'}:", *(f"  {p}" for p in problems[: cls.shown])]
        if len(problems) > cls.shown:
            lines.append(f"  … and {len(problems) - cls.shown} more")
        return cls("\n".join(lines), problems)


class WeightsError(SemiovsError):
    """Weights or checkpoints that are missing, damaged or of another model (exit code 4)."""

    exit_code = 4


class MissingExtraError(WeightsError):
    """An optional package is needed; the message names the extra to install (exit code 4)."""


class DivergedError(SemiovsError):
    """The loss or gradients are not finite any more (exit code 5)."""

    exit_code = 5


class PreemptedError(SemiovsError):
    """A signal asked the run to stop; a checkpoint was written (exit code 75)."""

    exit_code = 75


class InterruptedRunError(SemiovsError):
    """Ctrl-C; a checkpoint was written where there was something to save (exit code 130)."""

    exit_code = 130


class SemiovsWarning(UserWarning):
    """A warning for the user; the work goes on."""


#: What torch, NumPy, oneDNN and the C++ library say when there is no memory.
_NO_MEMORY = (
    "defaultcpuallocator",
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "could not create a memory",
    "failed to allocate",
    "unable to allocate",
    "unable to mmap",
    "std::bad_alloc",
    "_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, NumPy or torch (CPU or GPU) says that there is no memory."""
    if isinstance(error, SemiovsError):
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
        return True
    known = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return known and any(sign in str(error).lower() for sign in _NO_MEMORY)


@contextmanager
def require_memory(what: str, advice: str) -> Iterator[None]:
    """Turn an out-of-memory error of the body into a ResourcesError: ``{what}: out of memory; {advice}``."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ResourcesError(f"{what}: out of memory; {advice}") from None


@contextmanager
def about(what: object) -> Iterator[None]:
    """Prefix DataErrors raised inside with `what`, such as the path of an image."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{what}: {error}", kind=error.kind) from None


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known name, or ``" (one of: a, b)"`` if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (one of: {', '.join(names)})" if names else ""
