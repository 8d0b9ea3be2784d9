"""The images that a training reads: a stream for each role, with its good records and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from semiovs.data.label_source import LabelSource
from semiovs.errors import DataError
from semiovs.images.findings import Finding, list_findings, raise_errors
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
    """Streams by name, in the order of `KEYS`.

    masks, images: how their files are read; ood_labels: labels of the OOD images (with ``ood.mode: naive`` only the pixels that
    they ignore count; None there if there are none, so that every pixel is valid); findings: what is wrong with lists and folders.
    """

    vocabulary: Vocabulary
    masks: MaskReader
    streams: dict[str, Stream] = field(default_factory=dict)
    ood_labels: LabelSource | None = None
    images: ImageReader = RGB
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        masks: MaskReader,
        *,
        labeled: Manifest,
        unlabeled: Manifest | None = None,
        val: Manifest | None = None,
        ood: Manifest | None = None,
        held_out: Manifest | None = None,
        ood_labels: LabelSource | None = None,
        images: ImageReader = RGB,
    ) -> Self:
        """A collection of manifests: what `data.labeled`, `data.unlabeled` … name in a configuration.

        Raises:
            DataError: a labelled, held-out or evaluation image has no mask.
        """
        collection = cls(vocabulary, masks, ood_labels=ood_labels, images=images)
        given = {LABELED: labeled, HELD_OUT: held_out, UNLABELED: unlabeled, VAL: val, OOD: ood}
        for name, manifest in given.items():
            if manifest is not None:
                collection.streams[name] = Stream(name, manifest)
                raise_errors(_without_mask(name, manifest) if name in MASKED else ())
        return collection

    @property
    def labeled(self) -> Manifest:
        """Images with masks to learn from."""
        return self.manifest(LABELED) or Manifest([])

    @property
    def held_out(self) -> Manifest | None:
        """Images with masks that are not trained on, for decisions while training."""
        return self.manifest(HELD_OUT)

    @property
    def unlabeled(self) -> Manifest | None:
        """Bare images to learn from."""
        return self.manifest(UNLABELED)

    @property
    def val(self) -> Manifest | None:
        """Images with masks to evaluate on."""
        return self.manifest(VAL)

    @property
    def ood(self) -> Manifest | None:
        """Images from elsewhere, labelled by `ood_labels`."""
        return self.manifest(OOD)

    def add(self, name: str, read: Callable[[], tuple[Manifest, Sequence[Finding]] | None]) -> Manifest | None:
        """Read a stream; errors become findings. None if there is none, or it cannot be read.

        The records of a stream that needs masks have one; those without become findings.
        """
        try:
            found = read()
        except DataError as error:
            self.findings += list_findings(error, "list", stream=name)
            return None
        if found is None:
            return None
        manifest, findings = found
        bare = name not in MASKED
        further = [] if bare else _without_mask(name, manifest)
        named = sum(record.mask is not None for record in manifest) if bare else 0
        bad = tuple(i for finding in (*findings, *further) if finding.severity == "error" for i in finding.ids)
        self.findings += [replace(finding, stream=name) for finding in (*findings, *further)]
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
        return "label" if name == OOD and self.ood_labels is not None else "nothing"

    def require(self) -> Self:
        """The same collection, in which nothing is wrong.

        Raises:
            DataError: one error for all findings that are errors.
        """
        raise_errors(self.findings)
        return self


def _without_mask(name: str, manifest: Manifest) -> list[Finding]:
    findings = []
    for record in manifest:
        if record.mask is None:
            where, text = manifest.where(record), f"{record.image}: {name} images need a mask, and the list names none"
            findings.append(Finding("mask-missing", "error", text, name, where, str(record.image), ids=(record.id,)))
    return findings
