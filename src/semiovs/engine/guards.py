"""What goes wrong in a training, told once in a line with the next step; read from the rows of the metrics alone.

Equal rows give equal notes, in whatever folder: a resumed run reads its rows again, and goes on as if it had never
stopped.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from semiovs.engine.writers import Row, RowWriter
from semiovs.methods.ood_weight import DRIFT, IN_A_ROW

log = logging.getLogger(__name__)

#: Shares of the unlabelled pixels below and above which pseudo-labels teach nothing, or are not chosen at all.
FEW, ALL = 0.01, 0.995
#: Log lines in a row that a share has to stay there, and whose loss is averaged.
LINES = 5


@dataclass(frozen=True)
class Note:
    """A line about a training. name: which guard says it; text: what, where, and the next step."""

    name: str
    text: str


@dataclass(frozen=True)
class Watched:
    """What the guards know of a run beside its rows.

    model: the one that decides which evaluation is the best; threshold: whether the method leaves out unsure
    pseudo-labels (`method.conf_thresh` above 0); unweighted: whether `method.class_weights` can be set, and is not;
    arms: of the comparison that tells what each kind of images is worth, with two or more of them where the run learns
    from unlabelled or OOD images.
    """

    total_steps: int
    model: str
    threshold: bool = True
    unweighted: bool = True
    arms: Sequence[str] = ()


@dataclass(frozen=True)
class _Score:
    """An evaluation. loss: of the last log lines before it; predicted: classes with at least one pixel."""

    step: int
    miou: float
    loss: float | None
    iou: Mapping[str, float] = field(default_factory=dict)
    predicted: frozenset[str] = frozenset()


class Guards:
    """Reads the rows of a run in their order, and says what they show. Each thing is said once."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._losses: deque[float] = deque(maxlen=LINES)
        self._shares: deque[tuple[int, float]] = deque(maxlen=LINES)
        self._scores: dict[str, list[_Score]] = {"eval": [], "held_out": []}
        self._told: set[tuple[str, ...]] = set()

    def read(self, row: Row) -> list[Note]:
        """What is to be said after `row`; rows of other kinds and models say nothing."""
        kind = row["kind"]
        if kind == "train":
            return list(self._read_train(row))
        if kind not in self._scores or (kind == "eval" and row.get("model") != self._watched.model):
            return []
        score = self._make_score(row)
        if score is None:
            return []
        self._scores[kind].append(score)
        classes = self._find_lost_classes() if kind == "eval" else ()
        return [*classes, *self._find_drift(kind)]

    def _read_train(self, row: Row) -> Iterator[Note]:
        loss, share = _read_number(row, "loss"), _read_number(row, "log/mask_ratio")
        if loss is not None:
            self._losses.append(loss)
        if share is not None and row["step"] > self._watched.total_steps / 10:
            self._shares.append((row["step"], share))
            yield from self._judge_shares(row["step"])

    def _judge_shares(self, step: int) -> Iterator[Note]:
        """The last `LINES` log lines; in a short training, those of its last fifth."""
        total, recent = self._watched.total_steps, list(self._shares)
        if len(recent) < LINES:
            recent = [(at, share) for at, share in recent if at > 0.8 * total] if step == total else []
        shares = [share for _, share in recent]
        since = recent[0][0] if recent else step
        if shares and max(shares) < FEW and self._is_new("few-pseudo-labels"):
            yield Note(
                "few-pseudo-labels",
                f"few pseudo-labels: since step {since} the model is sure of {_percent(max(shares))} of the unlabelled "
                "pixels at the most (mask_ratio), so they teach next to nothing; lower method.conf_thresh, or train "
                "longer (train.steps)",
            )
        if shares and min(shares) > ALL and self._watched.threshold and self._is_new("all-pseudo-labels"):
            yield Note(
                "all-pseudo-labels",
                f"all pseudo-labels: since step {since} at least {_percent(min(shares))} of the unlabelled pixels pass "
                "method.conf_thresh (mask_ratio), mistakes among them; where the IoU is low, raise method.conf_thresh",
            )

    def _make_score(self, row: Row) -> _Score | None:
        miou, iou = _read_number(row, "miou"), row.get("iou")
        if miou is None:
            return None
        loss = sum(self._losses) / len(self._losses) if self._losses else None
        if not isinstance(iou, Mapping):
            return _Score(row["step"], miou, loss)
        there = {name: float(value) for name, value in iou.items() if name not in row.get("absent", ())}
        # rows of earlier versions do not say what was predicted
        missed = row.get("unpredicted", [name for name, value in there.items() if not value])
        return _Score(row["step"], miou, loss, there, frozenset(there) - frozenset(missed))

    def _find_lost_classes(self) -> Iterator[Note]:
        """Classes of the evaluation masks that are not predicted any more, or never were."""
        scores = self._scores["eval"]
        now, before = scores[-1], scores[:-2]
        gone = set(now.iou) - now.predicted - scores[-2].predicted if before else set()
        best = {name: max(before, key=lambda score: score.iou.get(name, 0.0)) for name in gone}
        lost = [n for n in now.iou if n in gone and best[n].iou.get(n) and self._is_new("class-collapse", n)]
        if lost:
            known = [f"'{name}' (IoU {best[name].iou[name]:.1f} at step {best[name].step})" for name in lost]
            yield Note(
                "class-collapse",
                f"class collapse: {join_names(known)} not predicted on any pixel at steps {scores[-2].step} and "
                f"{now.step}; {self._advise_class()}",
            )
        if now.step == self._watched.total_steps:
            yield from self._find_never_predicted(now)

    def _find_never_predicted(self, now: _Score) -> Iterator[Note]:
        seen = frozenset[str]().union(*(score.predicted for score in self._scores["eval"]))
        never = [f"'{name}'" for name in now.iou if name not in seen]
        learnt = [name for name, iou in now.iou.items() if iou]
        if never and len(learnt) > 1 and self._is_new("class-never"):  # with less, nothing was learnt at all
            yield Note(
                "class-never",
                f"class never predicted: {join_names(never)} in the evaluation masks, at no evaluation; "
                f"{self._advise_class()}",
            )

    def _advise_class(self) -> str:
        advice = ["label more images that show it"]
        if self._watched.unweighted:
            advice.insert(0, "method.class_weights=auto")
        if len(self._watched.arms) > 1 and self._watched.threshold:
            advice.insert(-1, "a lower method.conf_thresh for it")
        return f"try {', '.join(advice[:-1])}, or {advice[-1]}" if len(advice) > 1 else advice[0]

    def _find_drift(self, kind: str) -> Iterator[Note]:
        """Two evaluations clearly below the best one, while the loss went on falling."""
        scores = self._scores[kind]
        if len(scores) <= IN_A_ROW:
            return
        best, last = max(scores[:-IN_A_ROW], key=lambda score: score.miou), scores[-IN_A_ROW:]
        worse = all(score.miou <= best.miou - DRIFT for score in last)
        losses = best.loss, last[-1].loss
        if not worse or losses[0] is None or losses[1] is None or losses[1] >= losses[0]:
            return
        name = "drift" if kind == "eval" else "held-out-drift"
        if self._is_new(name):
            where = "on held-out labels " if kind == "held_out" else ""
            yield Note(
                name,
                f"drift: mIoU {where}was {best.miou:.1f} at step {best.step} and is {last[0].miou:.1f} and "
                f"{last[1].miou:.1f} at steps {last[0].step} and {last[1].step}, while the loss fell from "
                f"{losses[0]:.3g} to {losses[1]:.3g}; {self._advise_drift(kind)}",
            )

    def _advise_drift(self, kind: str) -> str:
        arms = self._watched.arms
        ask = f"semiovs compare CONFIG --arms {','.join(arms)}" if len(arms) > 1 else ""
        if kind == "held_out" and ask:
            return f"whether the images without masks help at all is told by {ask}"
        if ask:
            return (
                "it may be learning its own mistakes: try a slower teacher (method.ema_decay=0.996), a higher "
                f"method.conf_thresh or other OOD images, and see {ask}; checkpoints/best.pt keeps the best step"
            )
        return "try a lower optim.lr or fewer train.steps; checkpoints/best.pt keeps the best step"

    def _is_new(self, *what: str) -> bool:
        new = what not in self._told
        self._told.add(what)
        return new


class NoteWriter:
    """A writer that shows each row to guards; what they say goes to the log, and as a row of kind "note" to `out`.

    past: rows that a resumed run has written before; nothing is told of them again. A note names in `on` the kind of
    the row that it was made of, and is cut with it (`Run.cut_metrics`).
    """

    def __init__(self, guards: Guards, out: RowWriter, past: Iterable[Mapping[str, Any]] = ()) -> None:
        self._guards, self._out = guards, out
        for row in past:
            guards.read(row)

    def write(self, row: Row) -> None:
        """Tell what is to be said after `row`."""
        for note in self._guards.read(row):
            self.tell(note, row["step"], on=row["kind"])

    def tell(self, note: Note, step: int, *, on: str) -> None:
        """Tell one note."""
        log.warning("step %d: %s", step, note.text)
        self._out.write({"kind": "note", "step": step, "note": note.name, "text": note.text, "on": on})


def _read_number(row: Row, key: str) -> float | None:
    """A finite number of the row; None without one (a file holds null for others)."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def join_names(names: Sequence[str], most: int = 5) -> str:
    """At most so many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
