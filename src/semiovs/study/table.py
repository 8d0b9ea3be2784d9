"""The table of a study: learners with and without OOD images by splits, beside the published numbers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.comparison.cell_files import CellFacts, read_facts
from semiovs.errors import UsageError
from semiovs.files import write_json, write_text
from semiovs.report.csv_table import format_csv_rows
from semiovs.study.learners import ARMS, BASE, LEARNERS, OOD, splits
from semiovs.study.plan import StudyCell, StudyPlan

#: What stands in the column of scores, and the field of `CellFacts` that it is.
_SCORES = {"best epoch": "best", "last epoch": "last"}
_PUBLISHED = "best epoch, published elsewhere"


@dataclass(frozen=True)
class StudyRow:
    """A learner with or without OOD images. found: split -> what its finished seeds found; published: split -> mIoU."""

    learner: str
    arm: str
    found: Mapping[str, Mapping[int, CellFacts]]
    published: Mapping[str, float]

    def scores(self, split: str, field: str) -> list[float]:
        """The mIoU in percent of each finished seed: field `best` or `last`."""
        return [float(getattr(facts, field)) for facts in self.found.get(split, {}).values()]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        measured = {
            split: [
                {
                    "seed": seed,
                    **{key: getattr(facts, key) for key in ("best", "best_step", "last", "steps", "seconds")},
                }
                for seed, facts in seeds.items()
            ]
            for split, seeds in self.found.items()
        }
        return {"learner": self.learner, "arm": self.arm, "measured": measured, "published": dict(self.published)}


@dataclass(frozen=True)
class StudyTable:
    """Rows in the order of the plan. seeds: how many of each training there are to be; directories: of finished
    trainings.
    """

    splits: Sequence[str]
    rows: Sequence[StudyRow]
    seeds: int
    directories: Mapping[StudyCell, Path]

    def list_rows(self) -> tuple[Sequence[str], list[list[str]]]:
        """Head and rows: of each learner the best and the last epoch, mean and standard deviation over seeds (how many,
        where some are missing), and what was published.
        """
        head = ["learner", "OOD images", "mIoU %", *self.splits]
        return head, [line for row in self.rows for line in self._format_row(row)]

    def find_pair(self) -> list[Path]:
        """The trainings of the first learner and split that two seeds of are finished both without and with OOD images;
        empty if there are none.
        """
        for learner in dict.fromkeys(row.learner for row in self.rows):
            for split in self.splits:
                mine = [cell for cell in self.directories if (cell.learner, cell.split) == (learner, split)]
                by_arm = {arm: {cell.seed: self.directories[cell] for cell in mine if cell.arm == arm} for arm in ARMS}
                seeds = sorted(set(by_arm[BASE]) & set(by_arm[OOD]))
                if len(seeds) > 1:
                    return [by_arm[arm][seed] for arm in ARMS for seed in seeds]
        return []

    def _format_row(self, row: StudyRow) -> Iterator[list[str]]:
        start = [row.learner, "yes" if row.arm == OOD else "no"]
        for title, field in _SCORES.items():
            yield [*start, title, *(self._format_scores(row.scores(split, field)) for split in self.splits)]
        published = (row.published.get(split) for split in self.splits)
        yield [*start, _PUBLISHED, *("–" if miou is None else f"{miou:.1f}" for miou in published)]

    def _format_scores(self, scores: Sequence[float]) -> str:
        if not scores:
            return ""
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        few = f" ({len(scores)} of {self.seeds})" if len(scores) < self.seeds else ""
        return f"{statistics.mean(scores):.2f}{spread}{few}"

    def as_json(self) -> dict[str, Any]:
        """Content of results.json."""
        return {
            "splits": list(self.splits),
            "seeds": self.seeds,
            "finished": len(self.directories),
            "rows": [row.as_json() for row in self.rows],
            "published": "best of all epochs on the evaluation images, as the papers' repositories print it; not ours",
        }


def read_table(plan: StudyPlan) -> StudyTable:
    """What the finished trainings of a plan found.

    Raises:
        DataError: files of one were changed since.
    """
    rows, directories = [], dict[StudyCell, Path]()
    for learner in plan.learners:
        for arm in plan.arms:
            found: dict[str, dict[int, CellFacts]] = {}
            for cell in (StudyCell(learner.name, split, arm, seed) for split in plan.splits for seed in plan.seeds):
                facts = read_facts(plan.directory(cell))
                if facts is not None:
                    found.setdefault(cell.split, {})[cell.seed] = facts
                    directories[cell] = plan.directory(cell)
            rows.append(StudyRow(learner.name, arm, found, learner.published(arm)))
    return StudyTable(plan.splits, rows, len(plan.seeds), directories)


def find_plan(root: Path) -> StudyPlan:
    """The plan of the trainings in a folder that are finished, whatever was asked for.

    Raises:
        UsageError: there are none.
    """
    paths = [path.parent.relative_to(root / "runs").parts for path in (root / "runs").glob("*/*/*/seed-*/cell.json")]
    learners, columns, arms, seeds = (sorted({parts[place] for parts in paths}) for place in range(4))
    if not paths:
        raise UsageError(f"{root}: no finished training of a study is there; semiovs study voc --out DIR trains")
    return StudyPlan(
        root.absolute(),
        tuple(learner for learner in LEARNERS if learner.name in learners),
        tuple(split for split in splits() if split in columns),
        tuple(arm for arm in ARMS if arm in arms),
        tuple(sorted(int(seed.removeprefix("seed-")) for seed in seeds)),
        (),
        {},
    )


def write_table(table: StudyTable, root: Path) -> dict[str, Path]:
    """Write ``results.json``, ``table.md`` and ``table.csv`` into `root`; returns kind -> file."""
    paths = {"results": root / "results.json", "markdown": root / "table.md", "csv": root / "table.csv"}
    write_json(paths["results"], table.as_json())
    write_text(paths["markdown"], _format_markdown(table))
    write_text(paths["csv"], _format_csv(table))
    return paths


def _format_markdown(table: StudyTable) -> str:
    head, rows = table.list_rows()
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def _format_csv(table: StudyTable) -> str:
    """One line a finished training."""
    head: list[object] = [
        "learner",
        "split",
        "arm",
        "seed",
        "best",
        "best_step",
        "last",
        "steps",
        "seconds",
        "published",
    ]
    rows: list[list[object]] = [head]
    for row in table.rows:
        for split, seeds in row.found.items():
            for seed, facts in seeds.items():
                found = [facts.best, facts.best_step, facts.last, facts.steps, facts.seconds]
                rows.append([row.learner, split, row.arm, seed, *found, row.published.get(split, "")])
    return format_csv_rows(rows)
