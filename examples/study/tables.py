"""Write the tables of docs/photographs.md from the finished items of the queue.

python examples/study/tables.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from semiovs.files import write_text

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
PAGE, RESULTS = DOCS / "photographs.md", DOCS / "results/study"
_PART = re.compile(r"(<!-- tables: begin -->\n).*(<!-- tables: end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is out of date")
    given = parser.parse_args(arguments)
    before = PAGE.read_text(encoding="utf-8")
    after = _PART.sub(lambda found: f"{found[1]}{draw(read_queue(), RESULTS)}\n{found[2]}", before)
    if given.check:
        return int(after != before)
    write_text(PAGE, after)
    return 0


def read_queue() -> list[str]:
    """Names of the queue's items, in its order."""
    items = yaml.safe_load((HERE / "queue.yaml").read_text(encoding="utf-8"))
    return [str(item.get("name") or item.get("compare") or item["trainings"]) for item in items]


def draw(names: Sequence[str], results: Path) -> str:
    """A section of each finished item, and the names of those that are not yet run."""
    lines: list[str] = []
    found = {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in names
        if (path := results / f"{name}.json").is_file()
    }
    for name, item in found.items():
        lines += draw_trainings(name, item, found) if "trainings" in item else draw_item(name, item)
    told = ", ".join(f"`{name}`" for name in names if name not in found) or "nothing"
    return "\n".join([*lines, f"*Not yet run*: {told}.", ""])


def draw_item(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Heading, table of the arms, table of the differences, and where it was trained."""
    yield from (f"### {name}", "", "| arm | mIoU % | seeds | each |", "|---|---|---|---|")
    for arm in found["arms"]:
        seeds = " · ".join(f"{score:.1f}" for score in arm["by_seed"])
        spread = f" ± {arm['sd']:.1f}" if len(arm["by_seed"]) > 1 else ""
        yield f"| {arm['title']} | {arm['mean']:.1f}{spread} | {seeds} | {say_minutes(arm.get('seconds_each'))} |"
    yield from ("", "| difference | mIoU | 95 % interval | better in | p | |", "|---|---|---|---|---|---|")
    titles = {arm["name"]: arm["title"] for arm in found["arms"]}
    for one in found["differences"]:
        base, other = (titles.get(arm, arm) for arm in one["arms"])
        values, (low, high) = one["difference"], one["difference"]["interval"]
        better = f"{sum(value > 0 for value in values['by_seed'])} of {one['seeds']}"
        yield (
            f"| {other} - {base} | {values['mean']:+.1f} | [{low:+.1f}, {high:+.1f}] | {better} | {one['p']:.2f} "
            f"| {one['verdict']} |"
        )
    yield from ("", f"{found['steps']} steps each. {say_machines(found['machines'])}", "")


def draw_trainings(name: str, found: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Heading, and a row of each variant beside the arms that it is compared with, seed by seed."""
    beside = others.get(found["item"]["beside"], {"arms": []})
    bases = {arm["name"]: arm for arm in beside["arms"] if arm["name"] in found["item"]["arms"]}
    heads = [f"- {arm['title']}" for arm in bases.values()]
    yield from (f"### {name}", "", f"| variant | mIoU % | seeds | {' | '.join([*heads, 'each'])} |")
    yield "|" + "---|" * (4 + len(heads))
    for arm in bases.values():
        yield f"| *{arm['title']}* | {say_mean(arm['by_seed'])} | {say_seeds(arm['by_seed'])} |" + " |" * (
            len(heads) + 1
        )
    for variant in found["item"]["variants"]:
        if not (seeds := found["trainings"].get(variant)):
            continue
        scores = {int(seed): one["miou"] for seed, one in seeds.items()}
        cells = [say_difference(scores, arm["by_seed"]) for arm in bases.values()]
        cells.append(f"{sum(one['minutes'] for one in seeds.values()) / len(seeds):.0f} min")
        yield f"| {variant} | {say_mean(list(scores.values()))} | {say_seeds(scores.values())} | {' | '.join(cells)} |"
    curves = {
        name: one["curve"]
        for name, seeds in found["trainings"].items()
        for one in seeds.values()
        if len(one["curve"]) > 2
    }
    for variant, curve in curves.items():
        yield from ("", f"`{variant}`, by steps: " + ", ".join(f"{step}: {miou:.1f}" for step, miou in curve) + ".")
    done, planned = sum(map(len, found["trainings"].values())), len(found["item"]["variants"]) * found["item"]["seeds"]
    left = "" if done == planned else f"{done} of {planned} trainings are finished. "
    yield from ("", f"{left}{say_machines(found['machines'])}", "")


def say_mean(scores: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(scores):.1f}" + (f" ± {stdev(scores):.1f}" if len(scores) > 1 else "")


def say_seeds(scores: Iterable[float]) -> str:
    """Each score."""
    return " · ".join(f"{score:.1f}" for score in scores)


def say_difference(scores: Mapping[int, float], base: Sequence[float]) -> str:
    """Mean of the differences of the seeds that both have, with their least and greatest."""
    found = [score - base[seed] for seed, score in sorted(scores.items()) if seed < len(base)]
    return f"{mean(found):+.1f} ({min(found):+.1f} to {max(found):+.1f})" if found else ""


def say_minutes(seconds: float | None) -> str:
    """Of one training."""
    return "" if not seconds else f"{seconds / 60:.0f} min"


def say_machines(machines: Sequence[Mapping[str, Any]]) -> str:
    """Where it was trained."""
    each = (
        f"{', '.join(one['gpus']) or str(one['cpu']['count']) + ' cores, one thread a training'}, torch {one['torch']}"
        for one in machines
    )
    return f"Trained on: {'; '.join(each)}."


if __name__ == "__main__":
    sys.exit(main())
