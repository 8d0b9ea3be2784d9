"""Select images from a scanned pool: scan the reference images, fit thresholds, decide."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.select.candidates import InvalidEntry
from semiovs.select.class_presence import PresenceThreshold, fit_thresholds
from semiovs.select.decision import REASONS, Decision, SelectionRules, decide
from semiovs.select.scan import Examiner, ImageScan, scan_pool
from semiovs.select.scan_table import CHUNK, READ, PoolEntry, ScanRows, ScanTable, decode_entry

#: (what is scanned, images done).
Progress = Callable[[str, int], None]

#: Labelled images that thresholds are fitted on, at most.
CALIBRATED_ON = 500
#: Licenses that are counted by name.
_NAMED = 50


@dataclass(frozen=True)
class SelectionRequest:
    """What to select.

    targets: names of the classes that an image should show; licenses: allowed ones, empty: all; against: role -> images
    that must not be chosen; labeled, masks: to fit thresholds on; recall: share of the images of a class that the
    threshold must keep.
    """

    targets: tuple[str, ...]
    against: Mapping[str, Manifest]
    labeled: Manifest
    masks: MaskReader
    licenses: tuple[str, ...] = ()
    recall: float = 0.95
    rules: SelectionRules = field(default_factory=SelectionRules)


@dataclass(frozen=True)
class ReferenceImage:
    """An image that must not be selected, and its role."""

    role: str
    id: str
    image: Path


@dataclass
class Selection:
    """Result of `select`.

    scan, marks: its rows on disk; references: images that must not be selected; decision: about each; thresholds: of
    all classes; licenses: how often each occurs among the readable images; unread: references that cannot be read.
    """

    scan: ScanTable
    marks: list[str]
    rows: ScanRows
    references: list[ReferenceImage]
    decision: Decision
    thresholds: list[PresenceThreshold]
    request: SelectionRequest
    licenses: Counter[str]
    unread: list[str]
    calibrated_on: int
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def listed(self) -> int:
        """Images of the pool."""
        return len(self.rows)

    def texts(self) -> Iterable[tuple[int, PoolEntry, str]]:
        """Yield (row, image, what is wrong with it) of the whole pool, chunk by chunk."""
        for number, mark in enumerate(self.marks):
            for place, text in enumerate(self.scan.texts(number, mark)):
                yield (number * CHUNK + place, *decode_entry(text))

    def counts(self) -> dict[str, int]:
        """Images by reason; they sum up to `listed`."""
        found = np.bincount(self.decision.reason, minlength=len(REASONS))
        return {name: int(count) for name, count in zip(REASONS, found, strict=True)}

    def by_class(self) -> list[dict[str, Any]]:
        """For each target: images of the pool that show it, of those that could be chosen, and of the chosen ones."""
        if not self.rows.presence.shape[1]:
            return []
        decision = self.decision
        shown, chosen = self.rows.status == READ, decision.reason == REASONS.index("chosen")
        left = chosen | (decision.reason == REASONS.index("over budget"))
        return [
            {
                "name": name,
                "pool": int((decision.present[:, k] & shown).sum()),
                "available": int((decision.present[:, k] & left).sum()),
                "chosen": int((decision.present[:, k] & chosen).sum()),
                "chosen_for": int((decision.chosen_for == k).sum()),
            }
            for k, name in enumerate(self.request.targets)
        ]


def select(
    scan: ScanTable,
    marks: list[str],
    examiner: Examiner,
    request: SelectionRequest,
    *,
    threads: int = 1,
    progress: Progress = lambda what, done: None,  # noqa: ARG005
) -> Selection:
    """Decide about a scanned pool; references are scanned here, into the same folder.

    Raises:
        DataError: a chunk is damaged, or no image of the pool can be read.
    """
    started = time.monotonic()
    found, unread = _scan_references(scan, examiner, request.against, threads, progress)
    references, reference_rows = found
    looked = time.monotonic()
    levels = _fit_thresholds(scan, examiner, request, threads, progress)
    calibrated = time.monotonic()
    rows = scan.rows(marks)
    if not (rows.status == READ).any():
        raise DataError(_explain_empty_pool(scan, marks, rows))
    allowed, licenses = _check_licenses(scan, marks, request.licenses)
    targets = np.array([examiner.vocabulary.index(name) for name in request.targets], np.int64)
    limits = np.array([threshold.level for threshold in levels], np.uint8)
    read = time.monotonic()
    decision = decide(rows, reference_rows, allowed, limits, targets, request.rules)
    seconds = {
        "references": looked - started,
        "thresholds": calibrated - looked,
        "rows": read - calibrated,
        "decision": time.monotonic() - read,
    }
    calibrated_on = min(len(request.labeled), CALIBRATED_ON) if levels[0].source != "default" else 0
    return Selection(scan, marks, rows, references, decision, levels, request, licenses, unread, calibrated_on, seconds)


def list_other_scans(scan: ScanTable, examiner: Examiner, request: SelectionRequest) -> list[ImageScan]:
    """What `select` scans beside the pool: the references, and the labelled images that thresholds are fitted on."""
    others = list(_list_reference_scans(scan, examiner, request.against).values())
    return [
        *others,
        *([] if _needs_no_thresholds(examiner, request) else [_find_labeled_scan(scan, examiner, request)]),
    ]


def _list_reference_scans(scan: ScanTable, examiner: Examiner, against: Mapping[str, Manifest]) -> dict[str, ImageScan]:
    settings = examiner.without_teacher().settings
    return {
        role: ImageScan(ScanTable(scan.folder, f"against-{_hash_role(role)}", settings), manifest, asked=False)
        for role, manifest in against.items()
    }


def _needs_no_thresholds(examiner: Examiner, request: SelectionRequest) -> bool:
    return examiner.teacher is None or request.rules.rule == "paper"


def _find_labeled_scan(scan: ScanTable, examiner: Examiner, request: SelectionRequest) -> ImageScan:
    table = ScanTable(scan.folder, "labeled", examiner.settings)
    return ImageScan(table, request.labeled.choose_by_hash(CALIBRATED_ON))


def _explain_empty_pool(scan: ScanTable, marks: Sequence[str], rows: ScanRows) -> str:
    """Why nothing can be chosen."""
    if not len(rows):
        return "--from: no images there"
    _, why = decode_entry(scan.texts(0, marks[0])[0])
    return f"none of the {len(rows)} images of --from can be used; the first: {why}"


def _scan_references(
    scan: ScanTable, examiner: Examiner, against: Mapping[str, Manifest], threads: int, progress: Progress
) -> tuple[tuple[list[ReferenceImage], ScanRows], list[str]]:
    """Readable references with their rows, and the errors of the others."""
    bare = examiner.without_teacher()
    references, parts, unread = [], [ScanRows.empty(0, 0, examiner.embedding[1])], []
    for role, other in _list_reference_scans(scan, examiner, against).items():
        part = other.table
        done = scan_pool(part, other.images, bare, threads=threads, progress=lambda n, role=role: progress(role, n))  # type: ignore[misc]
        rows = part.rows(done.marks) if done.marks else parts[0]
        for number, mark in enumerate(done.marks):
            for text in part.texts(number, mark):
                image, why = decode_entry(text)
                assert isinstance(image, Record)
                if why:
                    unread.append(f"{role}: {why}")
                else:
                    references.append(ReferenceImage(role, image.id, image.image))
        parts.append(_take_rows(rows, rows.status == READ))
    return (references, _join_rows(parts)), unread


def _hash_role(role: str) -> str:
    return hashlib.sha256(role.encode()).hexdigest()[:8]


def _take_rows(rows: ScanRows, which: NDArray[np.bool_]) -> ScanRows:
    return ScanRows(**{name: getattr(rows, name)[which] for name in ScanRows.__dataclass_fields__})


def _join_rows(parts: Sequence[ScanRows]) -> ScanRows:
    return ScanRows(
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in ScanRows.__dataclass_fields__}
    )


def _fit_thresholds(
    scan: ScanTable, examiner: Examiner, request: SelectionRequest, threads: int, progress: Progress
) -> list[PresenceThreshold]:
    """Ask the teacher about labelled images, and compare with their masks; default levels if it knows none of them."""
    names = examiner.vocabulary.names
    nothing = np.zeros((0, len(names)))
    if _needs_no_thresholds(examiner, request):
        return fit_thresholds(names, nothing.astype(np.uint8), nothing.astype(bool), request.recall)
    manifest = request.labeled.choose_by_hash(CALIBRATED_ON)
    part = _find_labeled_scan(scan, examiner, request).table
    done = scan_pool(part, manifest, examiner, threads=threads, progress=lambda n: progress("thresholds", n))
    rows = part.rows(done.marks)
    known = rows.status == READ
    truth = np.zeros((len(rows), len(names)), bool)
    for row in np.flatnonzero(known).tolist():
        mask = manifest[row].mask
        assert mask is not None
        labels = request.masks(mask)
        pixels = np.bincount(labels.ravel(), minlength=256)[: len(names)]
        truth[row] = pixels >= max(1, np.ceil(examiner.share * labels.size))
    return fit_thresholds(names, rows.presence[known], truth[known], request.recall)


def _check_licenses(
    scan: ScanTable, marks: Sequence[str], allowed: Sequence[str]
) -> tuple[NDArray[np.bool_], Counter[str]]:
    """Mask of images whose license is allowed, and how often each license occurs (the first `_NAMED` by name)."""
    folded = {name.casefold() for name in allowed}
    fits: list[bool] = []
    licenses: Counter[str] = Counter()
    for number, mark in enumerate(marks):
        for text in scan.texts(number, mark):
            image, _ = decode_entry(text) if '"license"' in text else (None, "")
            name = image.license if isinstance(image, Record) else ""
            licenses[name if name in licenses or len(licenses) < _NAMED else "others"] += 1
            fits.append(not folded or name.casefold() in folded)
    return np.array(fits, bool), licenses


def locate_entry(image: PoolEntry) -> tuple[str, str]:
    """(id, image) of an entry as `dropped.jsonl` names it."""
    return ("", image.where) if isinstance(image, InvalidEntry) else (image.id, str(image.image))
