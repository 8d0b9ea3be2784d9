"""The images of a training, one stream for each role (labelled, unlabelled, …), with the findings about their lists."""

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

#: Stream -> the configuration key that names its images.
KEYS: Mapping[str, str] = {
    LABELED: "data.labeled",
    HELD_OUT: "data.held_out",
    UNLABELED: "data.unlabeled",
    VAL: "data.val",
    OOD: "ood.images",
}
#: Streams whose images need masks.
MASKED = (LABELED, HELD_OUT, VAL)

#: What the images of a stream are compared with: masks of the list, labels of `ood.labels`, or nothing.
Target = Literal["mask", "label", "nothing"]


@dataclass(frozen=True)
class Stream:
    """The images of one role.

    manifest: the good records; bad: ids (or line numbers) of records with errors; named_masks: how many records of a
    stream without masks name one in its list (they are never opened).
    """

    name: str
    manifest: Manifest
    bad: tuple[str, ...] = ()
    named_masks: int = 0

    @property
    def listed(self) -> int:
        """Number of records, good and bad, in the list or folder."""
        return len(self.manifest) + len(self.bad)


@dataclass
class Collection:
    """Streams by name, in the order of `KEYS`.

    masks, images: readers of mask and image files; ood_labels: labels of the OOD images; with ``ood.mode: naive`` they
    only tell which pixels are valid, and None makes every pixel valid; findings: what is wrong with lists and folders.
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
        """Build a collection from manifests, which correspond to `data.labeled`, `data.unlabeled` … of a configuration.

        Raises:
            DataError: a labelled, held-out or evaluation image has no mask.
        """
        collection = cls(vocabulary, masks, ood_labels=ood_labels, images=images)
        given = {LABELED: labeled, HELD_OUT: held_out, UNLABELED: unlabeled, VAL: val, OOD: ood}
        for name, manifest in given.items():
            if manifest is not None:
                collection.streams[name] = Stream(name, manifest)
                raise_errors(_find_without_mask(name, manifest) if name in MASKED else ())
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
        further = [] if bare else _find_without_mask(name, manifest)
        named = sum(record.mask is not None for record in manifest) if bare else 0
        bad = tuple(i for finding in (*findings, *further) if finding.severity == "error" for i in finding.ids)
        self.findings += [replace(finding, stream=name) for finding in (*findings, *further)]
        kept = manifest.without_masks() if name == UNLABELED else manifest
        if further:
            kept = manifest.keep_if(lambda record: record.mask is not None)
        self.streams[name] = Stream(name, kept, bad, named)
        return kept

    def manifest(self, name: str) -> Manifest | None:
        """The good records of a stream; None if there is no such stream."""
        stream = self.streams.get(name)
        return None if stream is None else stream.manifest

    def target_of(self, name: str) -> Target:
        """Whether the images of a stream have masks, labels or nothing."""
        if name in MASKED:
            return "mask"
        return "label" if name == OOD and self.ood_labels is not None else "nothing"

    def require(self) -> Self:
        """Return the collection itself.

        Raises:
            DataError: there are findings that are errors; one error names them all.
        """
        raise_errors(self.findings)
        return self


def _find_without_mask(name: str, manifest: Manifest) -> list[Finding]:
    findings = []
    for record in manifest:
        if record.mask is None:
            where, text = manifest.where(record), f"{record.image}: {name} images need a mask, and the list names none"
            findings.append(Finding("mask-missing", "error", text, name, where, str(record.image), ids=(record.id,)))
    return findings
