"""One pass over all images and masks of a collection: every byte decoded once, every finding told, memory bounded."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
from PIL import Image

from semiovs.audit.check import different_channels, empty_streams, meaningless_masks
from semiovs.audit.duplicates import Prints, repeats
from semiovs.audit.list_form import list_form
from semiovs.audit.mask_proposals import ForeignValues
from semiovs.audit.overlaps import shared_ids, shared_images
from semiovs.audit.record_check import Inspection, Inspector
from semiovs.audit.stream_statistics import Tally
from semiovs.data.collection import Collection, Stream
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import SEVERITIES, Finding, count_severities
from semiovs.images.record import Record
from semiovs.read_ahead import read_ahead

#: done, total
Progress = Callable[[int, int], None]

#: Records that may wait to be counted: large images, which are decoded one at a time, hold nobody else up.
_AHEAD = 64


@dataclass(frozen=True)
class Audit:
    """What one pass found. tallies: facts of each stream; bad: ids of the records of each stream that are bad."""

    collection: Collection
    tallies: dict[str, Tally]
    findings: list[Finding]
    bad: dict[str, frozenset[str]]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not count_severities(self.findings)["error"]

    def good(self, name: str) -> list[Record]:
        """Records of a stream about which nothing is an error."""
        bad = self.bad[name]
        return [record for record in self.collection.streams[name].manifest if record.id not in bad]

    def accounts(self) -> dict[str, dict[str, int]]:
        """Stream -> how many are listed, good and bad; good and bad are all that are listed."""
        found = {}
        for name, stream in self.collection.streams.items():
            good = len(self.good(name))
            found[name] = {"listed": stream.listed, "good": good, "bad": len(stream.bad) + len(stream.manifest) - good}
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        vocabulary = self.collection.vocabulary
        accounts = self.accounts()
        streams = {name: accounts[name] | tally.as_json(vocabulary) for name, tally in self.tallies.items()}
        return {
            "ok": self.ok,
            "findings": count_severities(self.findings),
            "streams": streams,
            "list": [finding.as_json() for finding in self.findings],
        }


def audit(
    collection: Collection, *, threads: int | None = None, named: bool = True, progress: Progress | None = None
) -> Audit:
    """Look at everything.

    threads: as many as there are processors by default (decoders release the interpreter); named: the classes are the user's, not
    numbers that stand in for them.
    """
    inspect = Inspector(collection, "whole")
    tallies = {name: Tally(stream) for name, stream in collection.streams.items()}
    prints = Prints(collection)
    findings = [*collection.findings, *empty_streams(collection)]
    for stream in collection.streams.values():
        findings += list_form(stream)
    shared = list(shared_images(collection))
    findings += [*shared, *shared_ids(collection, shared)]
    total, channels, foreign = len(prints.read), dict[int, list[str]](), ForeignValues(collection)
    with _one_thread_each():
        found = read_ahead(
            _jobs(collection), lambda job: (*job, inspect(*job)), threads=threads or os.cpu_count() or 1, least=_AHEAD
        )
        for row, (stream, record, inspection) in enumerate(found):
            tallies[stream.name].add(record, inspection)
            prints.add(row, inspection)
            findings += inspection.findings
            foreign.add(inspection)
            findings += _empty_mask(stream, record, inspection)
            if inspection.channels is not None and collection.images.bands is not None:
                channels.setdefault(inspection.channels, []).append(str(record.image))
            if progress is not None:
                progress(row + 1, total)
    for tally in tallies.values():
        findings += tally.findings(collection.vocabulary, named=named)
    if named:
        findings += meaningless_masks(collection, {name: tally.counts for name, tally in tallies.items()})
    findings += [*different_channels(channels), *foreign.proposals(), *repeats(prints, shared)]
    bad = _bad(collection, findings[len(collection.findings) :])
    return Audit(collection, tallies, sorted(findings, key=lambda f: SEVERITIES.index(f.severity)), bad)


def _jobs(collection: Collection) -> Iterator[tuple[Stream, Record]]:
    for stream in collection.streams.values():
        for record in stream.manifest:
            yield stream, record


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV without threads of its own; and no Python warning for each large image, which becomes a finding."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        cv2.setNumThreads(before)


def _empty_mask(stream: Stream, record: Record, found: Inspection) -> Iterator[Finding]:
    if found.labels is not None and not found.labels.counts[:IGNORE].any():
        file = str(record.mask or record.image)
        text = f"{file}: its mask labels no pixel, all are 'ignore'"
        yield Finding(
            "mask-empty", "warning", text, stream.name, stream.manifest.where(record), file, "label it, or take it out"
        )


def _bad(collection: Collection, findings: Iterable[Finding]) -> dict[str, frozenset[str]]:
    """Records that are bad by what the pass found; what lists and folders lost before is counted by the streams."""
    bad: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.severity == "error":
            bad[finding.stream].update(finding.ids)
    return {name: frozenset(bad[name]) for name in collection.streams}
