"""Everything that can be wrong with the data is found before step 0, and told at once."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiovs.data.batch import IGNORE
from semiovs.data.containers import read_bytes, split
from semiovs.data.manifest import Manifest
from semiovs.data.masks import ids_present
from semiovs.data.record import Record
from semiovs.data.sources import LabelSource, Sources
from semiovs.errors import DataError

#: done, total
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Finding:
    """What one record showed: problems, the ids in its mask (None where it has none), and how many channels its file has."""

    problems: tuple[str, ...] = ()
    present: tuple[int, ...] | None = None
    channels: int | None = None


def check_sources(sources: Sources, *, threads: int = 8, progress: Progress | None = None) -> None:
    """Read every mask and OOD label, and every image's header and end.

    Sizes must agree, values must be classes or ignore, OOD labels must exist, no image may be in two of labelled, held-out,
    unlabelled and evaluation images.

    Raises:
        DataError: one error for all problems.
    """
    problems: list[str] = []
    jobs: list[tuple[str, Callable[[], _Finding]]] = []
    records: list[Record] = []
    for stream, manifest in _streams(sources):
        if not manifest:
            problems.append(f"no {stream} images: the list or folder of {_KEYS[stream]} is empty")
        jobs += [(stream, _job(sources, stream, record)) for record in manifest]
        records += manifest
    problems += _overlaps(sources)
    present: dict[str, set[int]] = {}
    channels: dict[int, list[str]] = {}
    with ThreadPoolExecutor(threads) as pool:
        findings = pool.map(lambda job: job[1](), jobs)
        for done, ((stream, _), finding) in enumerate(zip(jobs, findings, strict=True), 1):
            problems += finding.problems
            if finding.present is not None:
                present.setdefault(stream, set()).update(finding.present)
            if finding.channels is not None:
                channels.setdefault(finding.channels, []).append(str(records[done - 1].image))
            if progress is not None:
                progress(done, len(jobs))
    problems += [*_only_ignore(sources, present), *_different_channels(channels)]
    if problems:
        raise DataError.of(problems)


def _streams(sources: Sources) -> Iterator[tuple[str, Manifest]]:
    yield _LABELED, sources.labeled
    for stream, manifest in (
        (_HELD_OUT, sources.held_out),
        (_UNLABELED, sources.unlabeled),
        (_VAL, sources.val),
        (_OOD, sources.ood),
    ):
        if manifest is not None:
            yield stream, manifest


_LABELED, _HELD_OUT, _UNLABELED, _VAL, _OOD = "labelled", "held-out", "unlabelled", "evaluation", "OOD"
_KEYS = {
    _LABELED: "data.labeled",
    _HELD_OUT: "data.held_out",
    _UNLABELED: "data.unlabeled",
    _VAL: "data.val",
    _OOD: "ood.images",
}


def _job(sources: Sources, stream: str, record: Record) -> Callable[[], _Finding]:
    if stream in {_LABELED, _HELD_OUT, _VAL}:
        return lambda: _with_mask(sources, record)
    if stream == _OOD and sources.ood_labels is not None:
        labels = sources.ood_labels
        return lambda: _with_label(sources, labels, record)
    return lambda: _bare(sources, record)


def _bare(sources: Sources, record: Record) -> _Finding:
    try:
        _, _, channels = sources.images.header(record.image)
    except DataError as error:
        return _Finding((str(error),))
    return _Finding(channels=channels)


def _with_mask(sources: Sources, record: Record) -> _Finding:
    assert record.mask is not None
    return _compared(sources, record, str(record.mask), lambda: sources.masks(record.mask or Path()))


def _with_label(sources: Sources, labels: LabelSource, record: Record) -> _Finding:
    if record.id not in labels:
        return _Finding((f"{record.image}: no label for id '{record.id}' in ood.labels",))
    what = f"its OOD label '{record.id}'"
    finding, classes = _compared(sources, record, what, lambda: labels.label(record.id)), len(sources.vocabulary)
    wrong = [value for value in finding.present or () if classes <= value != IGNORE]
    if wrong:
        text = f"{record.image}: {what} holds {wrong[0]}, but class ids end at {classes - 1}"
        return replace(finding, problems=(*finding.problems, text), present=None)
    return finding


def _compared(sources: Sources, record: Record, what: str, read: Callable[[], NDArray[np.uint8]]) -> _Finding:
    problems, size, channels, labels = [], None, None, None
    try:
        *size, channels = sources.images.header(record.image)
    except DataError as error:
        problems.append(str(error))
    try:
        labels = read()
    except DataError as error:
        problems.append(str(error))
    if size is not None and labels is not None and tuple(size) != labels.shape[::-1]:
        height, width = labels.shape
        text = f"{record.image}: is {size[0]}x{size[1]} pixels but {what} is {width}x{height}"
        if tuple(size) == (height, width):
            text += " (turned: was the mask drawn without regard to the EXIF orientation?)"
        problems.append(text)
    return _Finding(tuple(problems), None if labels is None else tuple(ids_present(labels)), channels)


def _different_channels(channels: dict[int, list[str]]) -> Iterator[str]:
    """Files of one data set that have other channels than most were surely written by another program."""
    usual = max(channels, key=lambda count: (len(channels[count]), -count), default=None)
    for count in sorted(set(channels) - {usual}):
        files = ", ".join(channels[count])
        yield (
            f"{len(channels[count])} image(s) have {count} channels, the other {len(channels[usual or 0])} have {usual}: {files}; "
            "write them alike, or leave data.bands away (every image is RGB then)"
        )


def _only_ignore(sources: Sources, present: dict[str, set[int]]) -> Iterator[str]:
    """Masks of 255 alone teach nothing; of 0 and 255 alone: legal one by one, but 255 was surely meant as a class."""
    names = sources.vocabulary.names
    for stream in (_LABELED, _HELD_OUT, _VAL):
        if present.get(stream) == {IGNORE}:
            yield (
                f"the {stream} masks ({_KEYS[stream]}) label no pixel: all hold nothing but 'ignore'; "
                "check data.masks and the class list"
            )
        elif present.get(stream) == {0, IGNORE} and len(names) > 1 and sources.masks.map is None:
            yield (
                f"the {stream} masks hold nothing but 0 and 255, and 255 means ignore; "
                f"if 255 is a class, set data.masks.map={{'0': {names[0]}, '255': {names[1]}}}"
            )


def _overlaps(sources: Sources) -> Iterator[str]:
    val, unlabeled, aside = sources.val, sources.unlabeled, sources.held_out
    pairs = (
        (_LABELED, sources.labeled, _VAL, val, "evaluation images must not be trained on"),
        (_UNLABELED, unlabeled, _VAL, val, "evaluation images must not be trained on"),
        (_LABELED, sources.labeled, _UNLABELED, unlabeled, "remove them from the unlabelled ones"),
        (_OOD, sources.ood, _VAL, val, "evaluation images must not be trained on"),
        (_HELD_OUT, aside, _VAL, val, "take them from the labelled images"),
        (_HELD_OUT, aside, _LABELED, sources.labeled, "held-out images must not be trained on"),
        (_HELD_OUT, aside, _UNLABELED, unlabeled, "held-out images must not be trained on"),
        (_HELD_OUT, aside, _OOD, sources.ood, "held-out images must not be trained on"),
    )
    for first, one, second, other, advice in pairs:
        shared = _shared(one or (), other or ())
        if shared:
            few = ", ".join(shared[:5]) + (", …" if len(shared) > 5 else "")
            yield f"{len(shared)} images are both {first} and {second}: {few}; {advice}"


def _shared(one: Iterable[Record], other: Iterable[Record]) -> list[str]:
    """Ids of `one` that are in `other` too: the same file, or a file of the same id and content.

    The id alone does not tell: frame 0001 of two folders may be two pictures.
    """
    files = {_resolved(record.image) for record in other}
    by_id = {record.id: record for record in other}
    return [
        record.id
        for record in one
        if _resolved(record.image) in files or (record.id in by_id and _same(record.image, by_id[record.id].image))
    ]


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _same(one: Path, other: Path) -> bool:
    try:
        if split(one) is None and split(other) is None:
            return filecmp.cmp(one, other, shallow=False)
        return read_bytes(one) == read_bytes(other)
    except (OSError, DataError):
        return False
