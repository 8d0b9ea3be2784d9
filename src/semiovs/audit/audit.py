"""`semiovs data check`: one pass that decodes every image and mask of a collection once, in bounded memory."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
from PIL import Image

from semiovs.audit.check import (
    find_different_channels,
    find_empty_streams,
    find_meaningless_masks,
    find_shifted_names,
)
from semiovs.audit.duplicates import CollectionFingerprints, find_duplicates
from semiovs.audit.list_form import check_list_form
from semiovs.audit.mask_proposals import DeclaredNoData, ForeignValues
from semiovs.audit.overlaps import find_shared_ids, find_shared_images
from semiovs.audit.palettes import Palettes
from semiovs.audit.record_check import Inspection, Inspector
from semiovs.audit.stream_statistics import StreamStatistics
from semiovs.data.collection import Collection, Stream
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import SEVERITIES, Finding, count_severities
from semiovs.images.record import Record
from semiovs.read_ahead import read_ahead

#: done, total
Progress = Callable[[int, int], None]

#: Yields what was found in each record of a collection, in the order of `list_jobs`.
Inspect = Callable[[Collection], Iterator[Inspection]]

#: Records that may wait to be counted: large images, which are decoded one at a time, hold nobody else up.
_AHEAD = 64


@dataclass(frozen=True)
class Audit:
    """Result of `audit`. statistics: facts about each stream; bad: ids of the records with an error, by stream."""

    collection: Collection
    statistics: dict[str, StreamStatistics]
    findings: list[Finding]
    bad: dict[str, frozenset[str]]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not count_severities(self.findings)["error"]

    def good_records(self, name: str) -> list[Record]:
        """Records of a stream without an error."""
        bad = self.bad[name]
        return [record for record in self.collection.streams[name].manifest if record.id not in bad]

    def count_records(self) -> dict[str, dict[str, int]]:
        """Stream -> number of listed, good and bad records; listed = good + bad."""
        found = {}
        for name, stream in self.collection.streams.items():
            good = len(self.good_records(name))
            found[name] = {"listed": stream.listed, "good": good, "bad": len(stream.bad) + len(stream.manifest) - good}
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        vocabulary = self.collection.vocabulary
        accounts = self.count_records()
        streams = {name: accounts[name] | tally.as_json(vocabulary) for name, tally in self.statistics.items()}
        return {
            "ok": self.ok,
            "findings": count_severities(self.findings),
            "streams": streams,
            "list": [finding.as_json() for finding in self.findings],
        }


def audit(
    collection: Collection,
    *,
    threads: int | None = None,
    named: bool = True,
    progress: Progress | None = None,
    inspect: Inspect | None = None,
) -> Audit:
    """Check every image, mask and list of a collection.

    threads: decoding threads; None: one per processor (decoders release the GIL); named: whether the user has named the
    classes (off: they are numbered, and classes that never occur are not reported); inspect: what reads the files,
    None: threads of this process. All else is done here, in the order of the records.

    Raises:
        Exception: as `inspect`.
    """
    inspect = inspect or partial(inspect_in_threads, threads=threads or os.cpu_count() or 1)
    tallies = {name: StreamStatistics(stream) for name, stream in collection.streams.items()}
    prints = CollectionFingerprints(collection)
    findings = [*collection.findings, *find_empty_streams(collection)]
    for stream in collection.streams.values():
        findings += check_list_form(stream)
    shared = list(find_shared_images(collection))
    findings += [*shared, *find_shared_ids(collection, shared)]
    total, channels = len(prints.read), dict[int, list[str]]()
    foreign, palettes, nodata = ForeignValues(collection), Palettes(collection), DeclaredNoData(collection)
    for row, ((stream, record), inspection) in enumerate(zip(list_jobs(collection), inspect(collection), strict=True)):
        tallies[stream.name].add(record, inspection)
        prints.add(row, inspection)
        findings += inspection.findings
        foreign.add(inspection)
        palettes.add(record, inspection)
        nodata.add(record, inspection)
        findings += _find_empty_mask(stream, record, inspection)
        if inspection.channels is not None and collection.images.bands is not None:
            channels.setdefault(inspection.channels, []).append(str(record.image))
        if progress is not None:
            progress(row + 1, total)
    for tally in tallies.values():
        findings += tally.findings(collection.vocabulary, named=named)
    if named:
        present = {name: tally.counts for name, tally in tallies.items()}
        findings += [*find_meaningless_masks(collection, present), *find_shifted_names(collection, present)]
    findings += [*find_different_channels(channels), *palettes.find_contradictions(), *nodata.find_contradictions()]
    findings += foreign.propose_mask_maps()
    findings += find_duplicates(prints, shared)
    bad = _collect_bad_ids(collection, findings[len(collection.findings) :])
    return Audit(collection, tallies, sorted(findings, key=lambda f: SEVERITIES.index(f.severity)), bad)


def inspect_in_threads(collection: Collection, *, threads: int) -> Iterator[Inspection]:
    """Decode every image and mask in threads of this process."""
    inspector = Inspector(collection, "whole")
    with limit_decoder_threads():
        yield from read_ahead(list_jobs(collection), lambda job: inspector(*job), threads=threads, least=_AHEAD)


def list_jobs(collection: Collection) -> Iterator[tuple[Stream, Record]]:
    """Each record with its stream, in the order in which everything is reported."""
    for stream in collection.streams.values():
        for record in stream.manifest:
            yield stream, record


@contextmanager
def limit_decoder_threads() -> Iterator[None]:
    """Give OpenCV one thread and silence Pillow's warnings about large images, which are reported as findings."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        cv2.setNumThreads(before)


def _find_empty_mask(stream: Stream, record: Record, found: Inspection) -> Iterator[Finding]:
    if found.labels is not None and not found.labels.counts[:IGNORE].any():
        file = str(record.mask or record.image)
        text = f"{file}: its mask labels no pixel, all are 'ignore'"
        yield Finding(
            "mask-empty", "warning", text, stream.name, stream.manifest.where(record), file, "label it, or take it out"
        )


def _collect_bad_ids(collection: Collection, findings: Iterable[Finding]) -> dict[str, frozenset[str]]:
    """Ids of records with an error, by stream; the streams count records that were lost while reading lists."""
    bad: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.severity == "error":
            bad[finding.stream].update(finding.ids)
    return {name: frozenset(bad[name]) for name in collection.streams}
