"""The most memory that this process has held."""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: Where Linux tells it.
_STATUS = Path("/proc/self/status")


def find_peak_memory() -> int | None:
    """Peak resident memory of this process in bytes; None where the system does not tell.

    On Linux, `getrusage` also counts what the parent process held, so the status file is asked first.
    """
    try:
        if found := re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text("utf-8")):
            return int(found[1]) * 2**10
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10
