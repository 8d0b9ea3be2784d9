"""Every error a user can cause: one clear line (what, where, what next) and a documented exit code."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Self


class SemiovsError(Exception):
    """Base of all expected errors; the command line prints its message alone and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class UsageError(SemiovsError):
    """A command, option or argument that cannot be taken (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration that does not hold: unknown key, wrong type, values that contradict (exit code 2)."""


class ResourcesError(UsageError):
    """Memory or shared memory that this machine does not have; the message says which setting needs less (exit code 2)."""


class DataError(SemiovsError):
    """Images, masks, lists or stores that are missing or wrong (exit code 3).

    problems: every single thing that is wrong, one line each; kind: a word for what is wrong (`semiovs data check` lists them).
    """

    exit_code = 3
    #: How many of many problems stand in the message.
    shown: ClassVar[int] = 100

    def __init__(self, message: str, problems: Sequence[str] = (), *, kind: str = "") -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)
        self.kind = kind

    @classmethod
    def of(cls, problems: Sequence[str], heading: str | None = None) -> Self:
        """One error for all problems; a single one stands alone, more of them each on a line below the heading."""
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
    """Loss or gradients stopped being finite (exit code 5)."""

    exit_code = 5


class PreemptedError(SemiovsError):
    """A signal asked the run to stop; a checkpoint was written (exit code 75)."""

    exit_code = 75


class InterruptedRunError(SemiovsError):
    """Ctrl-C; a checkpoint was written where there was something to save (exit code 130)."""

    exit_code = 130


class SemiovsWarning(UserWarning):
    """Something a user should know, that does not stop the work."""


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
    """Put `what`, such as the path of an image, before the message of a DataError that is raised inside."""
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
