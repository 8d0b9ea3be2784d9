"""Whether a teacher of the catalogue has learnt from the very images that it is to label, as far as names tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from semiovs.images.record import Record
from semiovs.models.weight_catalog import Weights, catalogue

#: First word of `Weights.trained_on` -> file names (without suffix) of that data set's training images.
_NAMES = {"COCO-Stuff": re.compile(r"(COCO_(train|val)2014_)?000000\d{6}")}
#: Folders of images that are named like them and were not trained on.
_OTHERS = frozenset({"val2017", "test2017", "unlabeled2017"})


def describe_known_images(teacher: Mapping[str, Any], images: Sequence[Record], what: str) -> str:
    """One sentence if the released weights of a teacher have learnt from a data set that these images seem to be of;
    "" where this is not so, or not known.

    teacher: as it describes itself, and as a store keeps it; what: to call the images, such as "OOD images".
    """
    row = _find_row(teacher)
    if row is None or row.trained_on is None:
        return ""
    names = _NAMES[row.trained_on.partition(" ")[0]]
    count = sum(names.fullmatch(r.image.stem) is not None and not _OTHERS & set(r.image.parts) for r in images)
    if not count:
        return ""
    return (
        f"The teacher's released weights ({row.name}) have learnt from the masks of {row.trained_on}, and {count:,} of "
        f"these {len(images):,} {what} are named like images of it: its labels are better there than on images that it "
        "has not seen."
    )


def has_learnt(teacher: Mapping[str, Any]) -> bool:
    """Whether a teacher, or a member of an ensemble, has learnt from the labelled images of its user; as it describes
    itself.
    """
    members = teacher.get("members") or ()
    return bool(teacher.get("learnt")) or "chosen" in teacher or any(has_learnt(m.get("options", {})) for m in members)


def _find_row(teacher: Mapping[str, Any]) -> Weights | None:
    """The row of the catalogue; SED's released files are the ones with a variant (a training of one's own has none)."""
    if teacher.get("name") == "sed" and "variant" in teacher:
        return catalogue().get(f"sed-{teacher['variant']}")
    return None
