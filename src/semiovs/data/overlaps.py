"""Images that are in two streams: what is trained on must not be measured on."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from pathlib import Path

from semiovs.data.bounds import Links
from semiovs.data.collection import HELD_OUT, LABELED, OOD, UNLABELED, VAL, Collection
from semiovs.data.findings import Finding, Severity
from semiovs.data.manifest import Manifest
from semiovs.data.record import Record

_VAL_ADVICE = "evaluation images must not be trained on"
_HELD_ADVICE = "held-out images must not be trained on"

#: (first, second, what to do): an image may not be in both; it is the first's record that is bad.
PAIRS = (
    (LABELED, VAL, _VAL_ADVICE),
    (UNLABELED, VAL, _VAL_ADVICE),
    (UNLABELED, LABELED, "remove it from the unlabelled ones"),
    (OOD, VAL, _VAL_ADVICE),
    (HELD_OUT, VAL, "take it from the labelled images"),
    (LABELED, HELD_OUT, _HELD_ADVICE),
    (UNLABELED, HELD_OUT, _HELD_ADVICE),
    (OOD, HELD_OUT, _HELD_ADVICE),
)


def shared_images(collection: Collection) -> Iterator[Finding]:
    """A finding for each image that two streams share: the same file, or a file of the same id and content.

    The id alone does not tell: frame 0001 of two folders may be two pictures.
    """
    links = Links()
    for first, second, advice in PAIRS:
        one, other = collection.manifest(first), collection.manifest(second)
        if one is None or other is None:
            continue
        files = {links.real(record.image): record for record in other}
        by_id = {record.id: record for record in other}
        for record in one:
            twin = files.get(links.real(record.image))
            if twin is None and record.id in by_id and _same(record.image, by_id[record.id].image):
                twin = by_id[record.id]
            if twin is not None:
                yield leak("leak-shared", "error", (first, one, record), (second, other, twin), advice)


def leak(
    kind: str, severity: Severity, one: tuple[str, Manifest, Record], other: tuple[str, Manifest, Record], advice: str,
    how: str = "is",
) -> Finding:  # fmt: skip
    """The record of the first stream is (or looks like) a record of the second."""
    (first, manifest, record), (second, there, twin) = one, other
    text = f"{record.image}: {how} both {first} and {second} (id '{record.id}'; there {there.where(twin)})"
    where, ids = manifest.where(record), (record.id,) if severity == "error" else ()
    return Finding(kind, severity, text, first, where, str(record.image), advice, ids)


def _same(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
