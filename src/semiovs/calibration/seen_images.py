"""Whether a teacher comes from a run that has learnt from the very images it is measured on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from semiovs.data.collection import LABELED, Collection
from semiovs.engine.data_fingerprint import DataFingerprint
from semiovs.engine.run import Run

#: How many folders above a file of a run (a checkpoint, a prediction) its directory is looked for.
_ABOVE = 3


def describe_seen_images(places: Iterable[Path], images: Collection) -> str:
    """One sentence on the labelled images that a run behind one of `places` was trained with; "" if there are none.

    places: weights of a teacher, or the folder of its answers.

    Raises:
        DataError: a labelled image that is not there.
    """
    now: dict[str, str] | None = None
    for run in dict.fromkeys(filter(None, map(_find_run, places))):
        before = DataFingerprint.read(run.data)
        learnt = {} if before is None else before.marks.get(LABELED, {})
        if not learnt:
            continue
        now = now or dict(DataFingerprint.of(images).marks.get(LABELED, {}))
        known = {mark for mark in learnt.values() if " " in mark}  # of image and mask
        count = sum(mark in known or _is_same(learnt.get(name), mark) for name, mark in now.items())
        if count:
            return (
                f"It has learnt from {count} of these {len(now)} images ({run.data}), so these numbers are too good: "
                "they say nothing about new images; measure it on labelled images that it has not seen."
            )
    return ""


def _is_same(before: str | None, now: str) -> bool:
    """Whether two marks of one id are of image files of one size; the mask may have been mended since."""
    return before is not None and before.split(" ")[0] == now.split(" ")[0]


def _find_run(place: Path) -> Run | None:
    """The run that a file or folder belongs to."""
    start = place.expanduser().resolve()
    runs = (Run(folder) for folder in (start, *list(start.parents)[:_ABOVE]))
    return next((run for run in runs if run.config.is_file() and run.data.is_file()), None)
