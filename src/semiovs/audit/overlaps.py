"""Images that are in two streams: evaluation images must not be trained on."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator
from pathlib import Path

from semiovs.data.collection import HELD_OUT, LABELED, OOD, UNLABELED, VAL, Collection
from semiovs.errors import DataError
from semiovs.images.allowed_folders import Links
from semiovs.images.containers.container import read_bytes, split
from semiovs.images.findings import Finding, Severity, some
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record

_VAL_ADVICE = "evaluation images must not be trained on"
_HELD_ADVICE = "held-out images must not be trained on"

#: (first, second, advice): an image must not be in both; the record of the first stream is reported.
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


def find_shared_images(collection: Collection) -> Iterator[Finding]:
    """Yield a finding for each image that two streams share: the same file, or a file of the same id and content.

    The id alone does not count: frame 0001 of two folders may be two different images.
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
            if twin is None and record.id in by_id and _have_same_content(record.image, by_id[record.id].image):
                twin = by_id[record.id]
            if twin is not None:
                yield make_leak_finding("leak-shared", "error", (first, one, record), (second, other, twin), advice)


def find_shared_ids(collection: Collection, told: Iterable[Finding]) -> Iterator[Finding]:
    """Yield a note for each pair of streams with ids of different images; told: findings of `find_shared_images`."""
    known = {(finding.stream, name) for finding in told for name in finding.ids}
    for first, second, _ in PAIRS:
        one, other = collection.manifest(first), collection.manifest(second)
        there = {record.id for record in other or ()}
        ids = [record.id for record in one or () if record.id in there and (first, record.id) not in known]
        if ids:
            text = f"{len(ids)} ids stand for different {first} and {second} images: {some(ids)}"
            yield Finding("id-shared", "note", text, first, fix="rename one of them if it is confusing")


def make_leak_finding(
    kind: str, severity: Severity, one: tuple[str, Manifest, Record], other: tuple[str, Manifest, Record], advice: str,
    how: str = "is",
) -> Finding:  # fmt: skip
    """Finding that a record of the first stream is (or looks like) a record of the second."""
    (first, manifest, record), (second, there, twin) = one, other
    text = f"{record.image}: {how} both {first} and {second} (id '{record.id}'; there {there.where(twin)})"
    where, ids = manifest.where(record), (record.id,) if severity == "error" else ()
    return Finding(kind, severity, text, first, where, str(record.image), advice, ids)


def _have_same_content(one: Path, other: Path) -> bool:
    try:
        if split(one) is None and split(other) is None:
            return filecmp.cmp(one, other, shallow=False)
        return read_bytes(one) == read_bytes(other)
    except (OSError, DataError):
        return False
