"""What a machine must have for loader processes: shared memory for the batches on their way, open files, processes."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from semiovs.errors import ResourcesError

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

#: Batches that each worker prepares ahead.
PREFETCH = 2
#: Workers of a rank by default, beside a model that computes on the CPU; the most beside one on a GPU.
_BESIDE_CPU, _MOST = 2, 8
#: Where torch's workers put what they hand over, and what helps if it is too small.
SHARED = Path("/dev/shm")
SHARED_ADVICE = "enlarge it (docker run --shm-size=8g), or let the main process load images: data.workers=0"
#: Open files that are asked for, and that a worker keeps free to hand over what it has made.
_OPEN_FILES, _SPARE_FILES = 65536, 8


def require_shared_memory(batch_bytes: int, workers: int, *, processes: int = 1) -> None:
    """Require that the batches which workers prepare ahead fit into the shared memory of this machine.

    batch_bytes: of one batch; processes: of a launch on this machine, each with `workers`.

    Raises:
        ResourcesError: they do not.
    """
    free = _find_free_shared_memory()
    # ahead of the model, and one that it is working on
    need = (workers * PREFETCH + 1) * batch_bytes * processes
    if workers and free is not None and need > free:
        raise ResourcesError(
            f"{SHARED} has {free / 2**20:.0f} MB free, but batches that are prepared ahead need {need / 2**20:.0f} MB; "
            f"{SHARED_ADVICE}"
        )


def choose_workers(asked: int | None, batch_bytes: int, *, processes: int = 1, on_gpu: bool = False) -> int:
    """Loader processes per rank: those asked for; else `_BESIDE_CPU` where the model computes on the cores too, and on
    a GPU all cores of the rank but one, at most `_MOST`; fewer if what they prepare ahead would not fit.

    batch_bytes, processes: see `require_shared_memory`. The batches are the same with any number.
    """
    if asked is not None:
        return asked
    cores = count_cores()
    workers = min(_MOST, max(1, cores // processes - 1)) if on_gpu else _BESIDE_CPU
    free = _find_free_shared_memory()
    while workers and free is not None and (workers * PREFETCH + 1) * batch_bytes * processes > free:
        workers -= 1
    return workers


def _find_free_shared_memory() -> int | None:
    """Bytes; None where workers do not use `SHARED`."""
    measured = measure_shared_memory()
    return None if measured is None else measured[1]


def measure_shared_memory() -> tuple[int, int] | None:
    """Size and free part of `SHARED` in bytes; None where workers do not use it."""
    try:
        found = os.statvfs(SHARED)
    except (OSError, AttributeError):
        return None
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def count_cores() -> int:
    """Cores that this process may use; a container may give less time on them (`find_cpu_limit`)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_cpu_limit(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that the control groups of this process allow; None without a limit, or where there are no
    control groups.
    """
    try:
        rows = [line.split(":", 2) for line in own.read_text("utf-8").splitlines()]
    except OSError:
        return None
    limits = []
    for _, kinds, group in (row for row in rows if len(row) == 3):
        base = root / "cpu" if "cpu" in kinds.split(",") else root
        place = Path(group.lstrip("/"))
        limits += [_read_cpu_limit(base / above) for above in (place, *place.parents)]
    return min((limit for limit in limits if limit is not None), default=None)


def _read_cpu_limit(folder: Path) -> float | None:
    """Of one group, in either form: ``cpu.max``, or the two files of older kernels."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text("utf-8").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text("utf-8") for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 and float(period) > 0 else None
    except (OSError, ValueError):  # no such group, or "max"
        return None


def describe_shared_memory() -> str:
    """How much of it is free, in brackets; nothing where workers do not use it."""
    free = _find_free_shared_memory()
    return "" if free is None else f" ({SHARED} has {free / 2**20:.0f} MB free)"


def find_limit(error: Exception) -> str | None:
    """Which limit on processes or open files an error is about, if any."""
    code, text = getattr(error, "errno", None), str(error)
    if code in (errno.EMFILE, errno.ENFILE) or "ancdata" in text or "Too many open files" in text:
        return "too many open files (ulimit -n)"
    if code == errno.EAGAIN or "can't start new thread" in text:
        return "no more processes or threads (ulimit -u)"
    return None


def raise_open_files() -> None:
    """Allow as many open files as the system lets us: every tensor on its way from a worker is one."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        if soft not in (hard, resource.RLIM_INFINITY) and soft < wanted:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def require_spare_files() -> None:
    """Raise OSError unless a few more files can be opened.

    What hands a worker's tensors over opens some, in a thread that has nobody to tell that it cannot.
    """
    spare: list[int] = []
    try:
        spare.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(_SPARE_FILES))  # keeps those opened so far
    finally:
        for file in spare:
            os.close(file)
