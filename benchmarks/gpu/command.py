"""`python -m benchmarks gpu --out DIR`: run the pieces that have no result in DIR yet, each in a process of its own."""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.gpu.pieces import PIECES, Piece, find
from semiovs.files import write_json
from semiovs.gpu_memory import find_gpu_memory

#: Seconds after which a piece is ended.
LIMIT = 590
#: What most pieces need, imported once.
_IMPORTS = (
    "torch._dynamo", "torch.profiler", "torchvision", "timm", "open_clip", "semiovs.engine.training",
    "semiovs.methods.unimatch", *(f"benchmarks.gpu.{name}" for name in ("steps", "training", "labelling", "scoring")),
)  # fmt: skip
#: All results together.
WHOLE = "bench-gpu.json"


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: all that was asked for is there, or the time was over; 1: a piece failed; 2: usage."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    if given.list:
        print("\n".join(f"{piece.name:20} {piece.about} (about {piece.minutes:g} min)" for piece in PIECES))
        return 0
    if given.out is None:
        parser.error("--out DIR is missing: the folder for the results")
    unknown = [name for name in given.only or () if name not in {piece.name for piece in PIECES}]
    if unknown:
        parser.error(f"unknown piece '{unknown[0]}'; --list shows them all")
    if given.device == "cuda" and find_gpu_memory() is None:
        parser.error("no GPU is usable here; --device cpu --tiny rehearses the same pieces")
    if given.device == "cpu" and not given.tiny:
        parser.error("--device cpu is a rehearsal: give --tiny too")
    given.out.mkdir(parents=True, exist_ok=True)
    failed = run([find(name) for name in given.only] if given.only else PIECES, given)
    whole = gather(given.out, given)
    write_json(given.out / WHOLE, whole)
    print(f"{len(whole['pieces'])} of {len(PIECES)} pieces are in {given.out / WHOLE}")
    return int(bool(failed))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results, one JSON file a piece")
    parser.add_argument("--only", action="append", metavar="PIECE", help="a piece, again for more; without: all")
    parser.add_argument("--list", action="store_true", help="list the pieces and end")
    parser.add_argument("--minutes", type=float, default=float("inf"),
                        help="begin no piece that would probably end later than this")  # fmt: skip
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes; the numbers mean nothing")
    parser.add_argument("--runs", type=int, default=10, help="interleaved runs of each variant")
    return parser


def run(pieces: Sequence[Piece], given: argparse.Namespace) -> list[str]:
    """Run what has no whole result; the names of those that failed."""
    begin, failed, method = time.monotonic(), [], ""
    for index, piece in enumerate(pieces):
        if whole_result(given.out / f"{piece.name}.json", given) is not None:
            print(f"{piece.name}: there already", flush=True)
            continue
        spent = (time.monotonic() - begin) / 60
        if spent + (0 if given.tiny else piece.minutes) > given.minutes:
            print(f"{piece.name}: no time left; {len(pieces) - index} pieces not looked at, run again for the rest")
            break
        print(f"{piece.name}: {piece.about} …", flush=True)
        method = method or choose_method()
        if problem := run_apart(piece, given, method):
            failed.append(piece.name)
            print(f"{piece.name}: FAILED: {problem}", file=sys.stderr, flush=True)
        else:
            print(f"{piece.name}: done, {60 * ((time.monotonic() - begin) / 60 - spent):.0f} s", flush=True)
    return failed


def choose_method() -> str:
    """Fork after the imports, which each process would pay for; spawn where an import has touched the GPU."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asking whether there is a GPU does not touch it
    for name in _IMPORTS:
        import_module(name)
    asked = multiprocessing.get_context("fork").Process(target=_end_if_touched)
    asked.start()
    asked.join()
    return "spawn" if asked.exitcode else "fork"


def run_apart(piece: Piece, given: argparse.Namespace, method: str) -> str | None:
    """Run a piece in a process of its own, which alone touches the device; what went wrong, if anything."""
    process = multiprocessing.get_context(method).Process(target=_measure, args=(piece, given))  # type: ignore[attr-defined]
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
        return f"it took longer than {LIMIT} s"
    if whole_result(given.out / f"{piece.name}.json", given) is not None:
        return None
    try:
        return str(json.loads((given.out / f"{piece.name}.json").read_text("utf-8"))["error"]).strip().split("\n")[-1]
    except (OSError, ValueError, KeyError):
        return f"its process ended with exit code {process.exitcode}"


def whole_result(file: Path, given: argparse.Namespace) -> dict[str, Any] | None:
    """The result of a piece if it is whole, and of this device and size."""
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    fits = found.get("whole") is True and (found.get("device"), found.get("tiny")) == (given.device, given.tiny)
    return found if fits else None


def gather(out: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The whole pieces of a folder as one result."""
    found = {piece.name: whole_result(out / f"{piece.name}.json", given) for piece in PIECES}
    return {"device": given.device, "tiny": given.tiny, "pieces": {name: one for name, one in found.items() if one}}


def _end_if_touched() -> None:
    import torch

    os._exit(int(torch.cuda._is_in_bad_fork()))


def _measure(piece: Piece, given: argparse.Namespace) -> None:
    """What the process of a piece does."""
    import torch

    from benchmarks.gpu.meter import Place

    gc.freeze()  # what was imported is not gone through again before each measurement
    if given.device == "cuda":
        torch.backends.cudnn.benchmark = True  # as trainings have it
    else:
        torch.set_num_threads(1)
    begin, place = time.monotonic(), Place(given.device, given.tiny, given.out, 1 if given.tiny else given.runs)
    result: dict[str, Any] = {
        "piece": piece.name, "about": piece.about, "device": given.device, "tiny": given.tiny,
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "hardware": machine.hardware(),
        "accelerator": machine.accelerator(), "versions": machine.versions(), "load": machine.load(),
    }  # fmt: skip
    try:
        rows = [row.as_json() for row in piece.measure(place)]
        result |= {"rows": rows, "seconds": round(time.monotonic() - begin, 1), "whole": True}
    except Exception:
        result |= {"error": traceback.format_exc(), "whole": False}
    write_json(given.out / f"{piece.name}.json", result)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of a loader or profiler do not hold the process up
