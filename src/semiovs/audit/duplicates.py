"""Exact and near copies of images, and copied masks, within a stream and across streams (leaks)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.audit.overlaps import make_leak_finding
from semiovs.audit.record_check import Inspection
from semiovs.data.collection import HELD_OUT, LABELED, OOD, UNLABELED, VAL, Collection
from semiovs.images.findings import Finding, Severity, join_first
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record
from semiovs.similarity.groups import connected
from semiovs.similarity.hashes import RADIUS, Hashes, alike_pairs, distance, find_near_hashes

#: (training stream, evaluation stream): an image in both makes the evaluation too optimistic.
_LEAKS = tuple((one, other) for other in (VAL, HELD_OUT) for one in (LABELED, UNLABELED, OOD))
#: Pairs of streams in which an image is merely listed twice.
_REPEATS = ((UNLABELED, LABELED), (OOD, LABELED), (OOD, UNLABELED))
#: Images of equal hash that are compared with one image, at most.
_CANDIDATES = 4


@dataclass(frozen=True)
class _RecordPlace:
    """Stream and record of one row of the fingerprints."""

    stream: str
    manifest: Manifest
    record: Record

    @property
    def as_tuple(self) -> tuple[str, Manifest, Record]:
        return self.stream, self.manifest, self.record

    @property
    def description(self) -> str:
        return f"{self.record.id} ({self.manifest.where(self.record)})"


class CollectionFingerprints:
    """Fingerprints of all images of a collection: 288 bytes each, whatever the size of the images.

    Rows are in the order of streams and records.
    """

    def __init__(self, collection: Collection) -> None:
        self.streams = [(name, stream.manifest) for name, stream in collection.streams.items()]
        self._starts = np.cumsum([0, *(len(manifest) for _, manifest in self.streams)])
        total = int(self._starts[-1])
        self.read = np.zeros(total, np.bool_)
        self.digests = np.zeros((total, 2), np.uint64)
        self.hashes = np.zeros(total, np.uint64)
        self.small = np.zeros((total, 16, 16), np.uint8)
        self.masks = np.zeros(total, np.uint64)

    def add(self, row: int, found: Inspection) -> None:
        """Keep the fingerprints of a record."""
        picture, labels = found.image, found.labels
        if picture is not None:
            self.read[row] = True
            self.digests[row] = np.frombuffer(picture.digest, np.uint64)
            self.hashes[row] = picture.hash
            self.small[row] = picture.small
        if labels is not None and labels.digest and np.count_nonzero(labels.counts) > 1:
            self.masks[row] = np.frombuffer(labels.digest, np.uint64)[0]

    def place(self, row: int) -> _RecordPlace:
        """Stream and record of a row."""
        index = int(np.searchsorted(self._starts, row, side="right")) - 1
        name, manifest = self.streams[index]
        return _RecordPlace(name, manifest, manifest[row - int(self._starts[index])])

    def rows_of(self, name: str) -> range:
        """Rows of a stream."""
        for index, (stream, _) in enumerate(self.streams):
            if stream == name:
                return range(int(self._starts[index]), int(self._starts[index + 1]))
        return range(0)


def find_duplicates(prints: CollectionFingerprints, known: Iterable[Finding]) -> Iterator[Finding]:
    """Find exact and near copies. known: findings of `find_shared_images`, whose records are not reported again."""
    told = {(finding.stream, name) for finding in known for name in finding.ids}
    exact = _group_exact_copies(prints)
    for rows in exact:
        yield from _report_exact_copies(prints, rows, told)
    yield from _find_near_copies(prints, told)
    yield from _find_copied_masks(prints)


def _group_exact_copies(prints: CollectionFingerprints) -> list[list[int]]:
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in np.flatnonzero(prints.read).tolist():
        first, second = prints.digests[row].tolist()
        groups[first, second].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _report_exact_copies(
    prints: CollectionFingerprints, rows: list[int], told: set[tuple[str, str]]
) -> Iterator[Finding]:
    by_stream: dict[str, list[_RecordPlace]] = defaultdict(list)
    for row in rows:
        place = prints.place(row)
        by_stream[place.stream].append(place)
    for name, places in by_stream.items():
        if len(places) > 1:
            described = join_first([place.description for place in places])
            text = f"{places[0].record.image}: {len(places)} {name} images are one file: {described}"
            where = places[0].manifest.where(places[0].record)
            yield Finding("copy-exact", "warning", text, name, where, str(places[0].record.image), "keep one of them")
    severity: Severity
    for pairs, severity, advice in ((_LEAKS, "error", "take it out"), (_REPEATS, "warning", "once is enough")):
        for one, other in pairs:
            for place in by_stream[one] if other in by_stream else ():
                if (one, place.record.id) not in told:
                    told.add((one, place.record.id))
                    kind = "leak-exact" if severity == "error" else "copy-exact"
                    twin = by_stream[other][0]
                    yield make_leak_finding(kind, severity, place.as_tuple, twin.as_tuple, advice, "the same file is")


def _find_near_copies(prints: CollectionFingerprints, told: set[tuple[str, str]]) -> Iterator[Finding]:
    values, inverse = np.unique(prints.hashes[prints.read], return_inverse=True)
    rows = np.flatnonzero(prints.read)
    order = np.argsort(inverse, kind="stable")
    members = np.split(rows[order], np.cumsum(np.bincount(inverse, minlength=len(values)))[:-1]) if len(values) else []
    pairs = find_near_hashes(values)
    neighbours: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs.tolist():
        neighbours[one].append(other)
        neighbours[other].append(one)
    of_value = dict(zip(rows.tolist(), inverse.tolist(), strict=True))
    for first, second in _LEAKS:
        yield from _find_near_leaks(prints, (first, second), members, neighbours, of_value, told)
    for name, _ in prints.streams:
        yield from _find_near_copies_within(prints, name, members, pairs)


def _find_near_leaks(
    prints: CollectionFingerprints,
    streams: tuple[str, str],
    members: Sequence[NDArray[np.int64]],
    neighbours: dict[int, list[int]],
    of_value: dict[int, int],
    told: set[tuple[str, str]],
) -> Iterator[Finding]:
    """Yield a warning for each training image that looks like an evaluation image."""
    first, second = (prints.rows_of(name) for name in streams)
    if not len(first) or not len(second):
        return
    measured = {v: [r for r in rows.tolist() if r in second][:_CANDIDATES] for v, rows in enumerate(members)}
    for row in first:
        if row not in of_value:
            continue
        value = of_value[row]
        near = [other for v in (value, *neighbours.get(value, ())) for other in measured[v]]
        twins = np.array(near, np.int64)[_compare_thumbnails(prints, [(row, other) for other in near])].tolist()
        place = prints.place(row)
        if twins and (place.stream, place.record.id) not in told:
            twin = prints.place(min(twins, key=lambda o: int(distance(prints.hashes[[row]], prints.hashes[[o]])[0])))
            advice = (
                "a neighbouring frame or a copy? the measurement is too good then; measure on images of another place, "
                "or take these out"
            )
            yield make_leak_finding(
                "leak-near", "warning", place.as_tuple, twin.as_tuple, advice, "nearly the same picture is"
            )


def _find_near_copies_within(
    prints: CollectionFingerprints, name: str, members: Sequence[NDArray[np.int64]], pairs: NDArray[np.int64]
) -> Iterator[Finding]:
    """Yield one note for all images of a stream that look like another image of the same stream."""
    within = prints.rows_of(name)
    own = [[r for r in rows.tolist() if r in within] for rows in members]
    candidates = [(rows[0], row) for rows in own for row in rows[1:]]
    candidates += [(own[a][0], own[b][0]) for a, b in pairs.tolist() if own[a] and own[b]]
    same = np.array(candidates, np.int64).reshape(-1, 2)[_compare_thumbnails(prints, candidates)]
    same = same[(prints.digests[same[:, 0]] != prints.digests[same[:, 1]]).any(axis=1)]
    if not len(same):
        return
    groups = connected(same)
    inside = sum(map(len, groups))
    largest = max(groups, key=len)
    shown = join_first([prints.place(row).description for row in largest], 3)
    text = f"{inside} of {len(within)} {name} images look nearly like another one ({len(groups)} groups), like {shown}"
    yield Finding("copy-near", "note", text, name, fix=_explain_copies(name))


def _explain_copies(stream: str) -> str:
    more = "; a random split would put them on both sides (semiovs data split does not)" if stream == LABELED else ""
    return f"they count double{more}"


def _compare_thumbnails(prints: CollectionFingerprints, pairs: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    return alike_pairs(prints.small, np.array(pairs, np.int64).reshape(-1, 2))


def _find_copied_masks(prints: CollectionFingerprints) -> Iterator[Finding]:
    """Yield a warning for each mask that several different images share: at most one of them can be right."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(prints.masks).tolist():
        groups[int(prints.masks[row])].append(row)
    for rows in groups.values():
        others = [row for row in rows[1:] if _differ(prints.hashes, rows[0], row)]
        if others:
            places = [prints.place(row) for row in (rows[0], *others)]
            first = places[0]
            described = join_first([place.description for place in places])
            text = f"{first.record.mask}: {len(places)} different images have this mask: {described}"
            advice = "look at them: at most one can be right"
            where = first.manifest.where(first.record)
            yield Finding("mask-copied", "warning", text, first.stream, where, str(first.record.mask), advice)


def _differ(hashes: Hashes, one: int, other: int) -> bool:
    return bool(distance(hashes[[one]], hashes[[other]])[0] > RADIUS)
