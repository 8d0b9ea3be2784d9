"""The images of a configuration as they were found: every stream with its good records, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from semiovs.data.sources import LabelSource, Sources
from semiovs.errors import DataError
from semiovs.images.findings import Finding, of_error, refuse
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.readers import RGB, ImageReader
from semiovs.vocab.vocabulary import Vocabulary

LABELED, HELD_OUT, UNLABELED, VAL, OOD = "labelled", "held-out", "unlabelled", "evaluation", "OOD"

#: Stream -> the key that says where it is.
KEYS: Mapping[str, str] = {
    LABELED: "data.labeled",
    HELD_OUT: "data.held_out",
    UNLABELED: "data.unlabeled",
    VAL: "data.val",
    OOD: "ood.images",
}
#: Streams whose images need masks.
MASKED = (LABELED, HELD_OUT, VAL)

#: What belongs to an image: its mask in the list, a label of `ood.labels`, or nothing.
Partner = Literal["mask", "label", "nothing"]


@dataclass(frozen=True)
class Stream:
    """The images of one role.

    manifest: the good records; bad: the ids (or lines) of the list or folder that do not hold; named_masks: records of a bare
    stream whose list names masks, which are never opened.
    """

    name: str
    manifest: Manifest
    bad: tuple[str, ...] = ()
    named_masks: int = 0

    @property
    def listed(self) -> int:
        """Lines of the list, or images of the folder: the good and the bad."""
        return len(self.manifest) + len(self.bad)


@dataclass
class Collection:
    """Streams by name (in the order of `KEYS`), how masks and images are read, the OOD labels, the findings of lists."""

    vocabulary: Vocabulary
    masks: MaskReader
    streams: dict[str, Stream] = field(default_factory=dict)
    labels: LabelSource | None = None
    images: ImageReader = RGB
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, sources: Sources) -> Collection:
        """What a training was given."""
        given = (
            (LABELED, sources.labeled),
            (HELD_OUT, sources.held_out),
            (UNLABELED, sources.unlabeled),
            (VAL, sources.val),
            (OOD, sources.ood),
        )
        streams = {name: Stream(name, manifest) for name, manifest in given if manifest is not None}
        return cls(sources.vocabulary, sources.masks, streams, sources.ood_labels, sources.images)

    def add(self, name: str, read: Callable[[], tuple[Manifest, Sequence[Finding]] | None]) -> Manifest | None:
        """Read a stream; errors become findings. None if there is none, or it cannot be read.

        The records of a stream that needs masks have one; those without become findings.
        """
        try:
            found = read()
        except DataError as error:
            self.findings += of_error(error, "list", stream=name)
            return None
        if found is None:
            return None
        manifest, findings = found
        bare = name not in MASKED
        further = [] if bare else _lacking(name, manifest)
        named = sum(record.mask is not None for record in manifest) if bare else 0
        bad = tuple(i for finding in (*findings, *further) if finding.severity == "error" for i in finding.ids)
        self.findings += [_of_stream(finding, name) for finding in (*findings, *further)]
        kept = manifest.without_masks() if name == UNLABELED else manifest
        if further:
            kept = manifest.having(lambda record: record.mask is not None)
        self.streams[name] = Stream(name, kept, bad, named)
        return kept

    def manifest(self, name: str) -> Manifest | None:
        """The good records of a stream; None if there is no such stream."""
        stream = self.streams.get(name)
        return None if stream is None else stream.manifest

    def label_of(self, name: str) -> Partner:
        """What belongs to the images of a stream."""
        if name in MASKED:
            return "mask"
        return "label" if name == OOD and self.labels is not None else "nothing"

    def sources(self) -> Sources:
        """What a training reads.

        Raises:
            DataError: one error for all findings that are errors.
        """
        refuse(self.findings)
        labeled, ood = self.manifest(LABELED), self.manifest(OOD)
        return Sources(
            self.vocabulary,
            Manifest([]) if labeled is None else labeled,
            self.masks,
            self.manifest(UNLABELED),
            self.manifest(VAL),
            None if ood is None else ood.without_masks(),
            self.labels,
            self.manifest(HELD_OUT),
            self.images,
        )


def _of_stream(finding: Finding, name: str) -> Finding:
    return replace(finding, stream=name)


def _lacking(name: str, manifest: Manifest) -> list[Finding]:
    findings = []
    for record in manifest:
        if record.mask is None:
            where, text = manifest.where(record), f"{record.image}: {name} images need a mask, and the list names none"
            findings.append(Finding("mask-missing", "error", text, name, where, str(record.image), ids=(record.id,)))
    return findings
