"""The check of the data before training: all problems are collected and reported in one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from semiovs.audit.overlaps import find_shared_images
from semiovs.audit.palettes import Palettes
from semiovs.audit.record_check import Inspector
from semiovs.config.yaml_reader import format_inline
from semiovs.data.collection import KEYS, LABELED, MASKED, Collection
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding, raise_errors
from semiovs.images.mask_values import map_binary_values
from semiovs.read_ahead import read_ahead

#: done, total
Progress = Callable[[int, int], None]


def check_collection(
    collection: Collection, *, threads: int = 8, progress: Progress | None = None
) -> Mapping[str, NDArray[np.int64]]:
    """Read every mask and OOD label, and every image's header and end; return for each stream that has masks or labels
    the number of pixels of each id, (256,).

    Sizes must agree, values must be classes or ignore, palettes must not give the same colours other indices, OOD
    labels must exist, no image may be in two of labelled, held-out, unlabelled and evaluation images. (`audit` looks
    deeper, and goes on where this ends.)

    Raises:
        DataError: one error for all problems.
    """
    inspect = Inspector(collection, "header")
    findings = [*find_empty_streams(collection), *find_shared_images(collection)]
    jobs = [(stream, record) for stream in collection.streams.values() for record in stream.manifest]
    present: dict[str, NDArray[np.int64]] = {}
    channels: dict[int, list[str]] = {}
    palettes = Palettes(collection)
    found = read_ahead(jobs, lambda job: inspect(*job), threads=threads)
    for done, ((stream, record), inspection) in enumerate(zip(jobs, found, strict=True), 1):
        findings += inspection.findings
        palettes.add(record, inspection)
        if inspection.labels is not None:
            present[stream.name] = present.get(stream.name, 0) + inspection.labels.counts
        if inspection.channels is not None:
            channels.setdefault(inspection.channels, []).append(str(record.image))
        if progress is not None:
            progress(done, len(jobs))
    findings += [
        *find_meaningless_masks(collection, present),
        *find_different_channels(channels),
        *palettes.find_contradictions(),
    ]
    raise_errors(findings)
    return present


def count_pixels(collection: Collection, stream: str, *, threads: int = 8) -> NDArray[np.int64]:
    """Pixels of each id in the masks of one stream, (256,), without any other check.

    Raises:
        DataError: a mask that cannot be read.
    """
    paths = [record.mask for record in collection.manifest(stream) or () if record.mask is not None]
    found = np.zeros(256, np.int64)
    for ids in read_ahead(paths, collection.masks, threads=threads):
        found += np.bincount(ids.ravel(), minlength=256)
    return found


def find_empty_streams(collection: Collection) -> Iterator[Finding]:
    """Streams without an image."""
    for name, stream in collection.streams.items():
        if not stream.listed:
            yield Finding("list-empty", "error", f"no {name} images: the list or folder of {KEYS[name]} is empty", name)


def find_meaningless_masks(collection: Collection, present: dict[str, NDArray[np.int64]]) -> Iterator[Finding]:
    """Report streams whose masks hold only 255 (nothing to learn), or only 0 and 255 (255 was probably meant as a
    class).

    present: stream -> (256,) number of pixels of each id.
    """
    names = collection.vocabulary.names
    for stream in MASKED:
        values = _list_present_ids(present.get(stream, ()))
        if values == {IGNORE}:
            text = f"the {stream} masks ({KEYS[stream]}) label no pixel: all hold nothing but 'ignore'"
            yield Finding("mask-ignored", "error", text, stream, fix="check data.masks and the class list")
        elif collection.masks.map is None and (meant := map_binary_values(values, names)) is not None:
            text = f"the {stream} masks hold nothing but 0 and 255, and 255 means ignore"
            fix = f"if 255 is a class, set data.masks.map={format_inline(meant)}"
            setting = {"data.masks.map": meant} if len(names) == 2 else {}
            yield Finding("mask-binary", "error", text, stream, fix=fix, setting=setting)


def find_shifted_names(collection: Collection, present: dict[str, NDArray[np.int64]]) -> Iterator[Finding]:
    """Report labelled masks that hold 1 and never 0, where 0 is a class like others: their ids may go from 1.

    present: as in `find_meaningless_masks`.
    """
    names, masks, counts = collection.vocabulary.names, collection.masks, present.get(LABELED)
    told = masks.map is not None or masks.reduce_zero_label or collection.vocabulary.has_background
    if counts is not None and not told and len(names) > 1 and counts[1] and not counts[0]:
        text = f"no {LABELED} mask holds 0, which would be {names[0]}; if their ids go from 1, each name is one off"
        fix = f"if 1 is {names[0]} and not {names[1]}, set data.masks.reduce_zero_label=true"
        yield Finding("class-shifted", "warning", text, LABELED, fix=fix)


def find_different_channels(channels: dict[int, list[str]]) -> Iterator[Finding]:
    """Report files whose number of channels differs from that of most files.

    channels: number of channels -> files with that many.
    """
    usual = max(channels, key=lambda count: (len(channels[count]), -count), default=None)
    for count in sorted(set(channels) - {usual}):
        rest = f"the other {len(channels[usual or 0])} have {usual}"
        text = f"{len(channels[count])} image(s) have {count} channels, {rest}: {', '.join(channels[count])}"
        fix = "write them alike, or leave data.bands away (every image is RGB then)"
        yield Finding("image-channels", "error", text, fix=fix)


def _list_present_ids(counts: Iterable[int] | NDArray[np.int64]) -> set[int]:
    return {int(value) for value in np.flatnonzero(np.asarray(counts))}
