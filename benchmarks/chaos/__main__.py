"""`python -m benchmarks.chaos [--budget MINUTES] [--only NAME …] [--seed N] [--out FILE.json] [--work DIR]`: harm
semiovs while it works, go on with it, and compare with what nobody disturbed. Exit code 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.chaos.joining import join
from benchmarks.chaos.trial import KINDS, Kind, NotCoveredError, Story, WrongError
from benchmarks.chaos.world import World

#: One file a family of harms; each registers its trials with `@kind`.
FAMILIES = ("kills", "corruptions", "stops", "doubles", "resources", "ranks")
_rows_lock = threading.Lock()


def main(arguments: Sequence[str] | None = None) -> int:
    for name in FAMILIES:
        import_module(f"benchmarks.chaos.{name}")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="begin no trial after so long")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"kinds of harm: {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=0, help="what is harmed, when and how follows from it")
    parser.add_argument("--trial", type=int, metavar="I", help="that trial of each kind alone, to see it again")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for everything; default: a temporary one")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--fresh", action="store_true", help="begin every process as an interpreter of its own (slow)")
    parser.add_argument("--join", nargs="+", type=Path, metavar="FILE.json", help="add up campaigns of other seeds")
    given = parser.parse_args(arguments)
    if given.join:
        return conclude(join(given.join), given.out)
    unknown = [name for name in given.only or () if name not in KINDS]
    if unknown:
        parser.error(f"unknown kind '{unknown[0]}'; known are {', '.join(KINDS)}")
    chosen = [KINDS[name] for name in given.only or KINDS]
    if given.work is not None:
        return _campaign(chosen, given, given.work)
    with tempfile.TemporaryDirectory(prefix="semiovs-chaos-") as folder:
        return _campaign(chosen, given, Path(folder))


def _campaign(chosen: Sequence[Kind], given: argparse.Namespace, work: Path) -> int:
    work.mkdir(parents=True, exist_ok=True)
    before, begin = machine.load(), time.monotonic()
    rows = {each.name: empty_row(each) for each in chosen}
    world = World(work, fresh=given.fresh)
    end = begin + 60 * given.budget if given.budget is not None else float("inf")

    def work_on(trial: tuple[Kind, int]) -> None:
        if time.monotonic() < end:
            attempt(*trial, given.seed, world, rows[trial[0].name])

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(work_on, order(chosen, given.trial)))
    result = {
        **machine.described(before, tiny=False),
        "seed": given.seed,
        "seconds": round(time.monotonic() - begin),
        "kinds": list(rows.values()),
    }
    return conclude(result, given.out)


def conclude(result: dict[str, Any], out: Path | None) -> int:
    """Show and write the rows; the exit code."""
    show(result["kinds"])
    machine.write(result, out)
    return int(any(row["wrong"] for row in result["kinds"]))


def order(chosen: Sequence[Kind], only: int | None = None) -> list[tuple[Kind, int]]:
    """First one trial of each kind, then in proportion, so that a campaign that is cut short has its share of each."""
    if only is not None:
        return [(each, only) for each in chosen]
    trials = [(each, number) for each in chosen for number in range(each.times)]
    return sorted(trials, key=lambda trial: trial[1] / trial[0].times)


def attempt(each: Kind, number: int, seed: int, world: World, row: dict[str, Any]) -> None:
    """Make one trial and note in `row` what came of it."""
    if row["not_covered"]:
        return
    story, begin, reason = Story(random.Random(f"{seed}/{each.name}/{number}"), number), time.monotonic(), None
    try:
        each.trial(world, story)
    except NotCoveredError as error:
        row["not_covered"] = str(error)
        return
    except WrongError as error:
        reason = str(error)
    except Exception:  # a trial that breaks is wrong as well
        reason = traceback.format_exc()
    with _rows_lock:
        _note(row, story, time.monotonic() - begin, reason)
    if reason is not None:
        again = f"python -m benchmarks.chaos --only {each.name} --seed {seed} --trial {number}"
        harms = [anonymous(harm, world) for harm in story.harms]
        row["wrong"].append({"reason": anonymous(reason, world), "harms": harms, "again": again})
    print(f"{each.name} {number}: {'right' if reason is None else f'WRONG: {reason}'}", file=sys.stderr, flush=True)


def _note(row: dict[str, Any], story: Story, seconds: float, reason: str | None) -> None:
    row["trials"] += 1
    row["tried"] += len(story.harms)
    row["too_late"] += story.went_by
    row["right"] += reason is None
    row["seconds"] = round(row["seconds"] + seconds, 1)


def anonymous(text: str, world: World) -> str:
    """Without the folders and the name of this machine."""
    here = {
        str(world.root): "WORK",
        str(Path(__file__).parents[2]): ".",
        sys.prefix: "PYTHON",
        sys.base_prefix: "PYTHON",
    }
    for path, name in here.items():
        text = text.replace(path, name)
    host = socket.gethostname()
    return text.replace(f"-{host}-", "-HOST-").replace(f".{host}.", ".HOST.").replace(f" on {host}", " on HOST")


def empty_row(each: Kind) -> dict[str, Any]:
    counts = {"trials": 0, "tried": 0, "too_late": 0, "right": 0}
    return {"kind": each.name, "harm": each.harm, **counts, "wrong": [], "seconds": 0.0, "not_covered": ""}


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="chaos", title_justify="left")
    for name in ("kind", "harms", "too late", "trials", "right", "wrong", "seconds", "not covered here"):
        table.add_column(name, justify="left" if name in {"kind", "not covered here"} else "right")
    for row in rows:
        numbers = (
            row["tried"],
            row["too_late"],
            row["trials"],
            row["right"],
            len(row["wrong"]),
            f"{row['seconds']:.0f}",
        )
        table.add_row(row["kind"], *map(str, numbers), row["not_covered"])
    Console(width=150 if not sys.stdout.isatty() else None).print(table)
    for row in rows:
        for wrong in row["wrong"]:
            print(f"{row['kind']}: {wrong['reason']}\n  after: {'; '.join(wrong['harms'])}\n  again: {wrong['again']}")


if __name__ == "__main__":
    raise SystemExit(main())
