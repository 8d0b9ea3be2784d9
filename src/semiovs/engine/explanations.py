"""What the numbers of a run mean where they look wrong, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Smaller shares of sure pixels are none, as log lines print them.
_NONE = 0.0005


def explain_metrics(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line if pseudo-labels were never sure enough, unless a guard said so, and one if nothing was learnt.

    rows: of `metrics.jsonl`.
    """
    found = [row.get("log/mask_ratio") for row in rows if row["kind"] == "train"]
    told = any(row["kind"] == "note" and row.get("note") == "few-pseudo-labels" for row in rows)
    ratios = [] if told else [float(ratio) for ratio in found if ratio is not None]
    if ratios and max(ratios) < _NONE:
        yield (
            "mask_ratio 0: no pixel of the unlabelled images was predicted with a probability of method.conf_thresh, "
            "so they taught nothing yet: train longer (train.steps), or lower method.conf_thresh"
        )
    elif ratios and ratios[-1] < _NONE:
        yield (
            "mask_ratio 0 at the end: the model is not sure of any unlabelled pixel any more; a lower optim.lr or "
            "method.conf_thresh may help"
        )
    scored = [row for row in rows if row["kind"] == "eval" and isinstance(row.get("iou"), Mapping)]
    for row in scored[-1:]:
        there = {name: iou for name, iou in row["iou"].items() if name not in row.get("absent", ())}
        right = [name for name, iou in there.items() if iou]
        if len(there) > 1 and len(right) <= 1:
            only = f"no class but '{right[0]}' is" if right else "no class is"
            yield f"nothing learnt yet: {only} predicted rightly; train longer (train.steps), or see semiovs data check"
