"""The process that reads the cases, so that one that hangs or crashes does not end the campaign.

It is told a target, and then numbers of cases, one a line; it answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

#: Bytes of address space beyond those of the loaded program.
SPACE = 2 * 2**30


def main() -> int:
    """Read cases until stdin ends."""
    name, seed = sys.argv[1:3]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)  # decoders print there
    import cv2
    import torch

    from benchmarks.fuzz.case import Bench
    from benchmarks.fuzz.targets import TARGETS

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(TARGETS[name], Path(folder) / "case")
        used = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, used + SPACE))
        print(json.dumps({"ready": len(bench.seeds)}), file=answers)
        for line in sys.stdin:
            number = int(line)
            print(json.dumps(asdict(bench.run(bench.make(seed, number), seed, number))), file=answers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
