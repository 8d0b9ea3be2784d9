"""Label the demo's OOD images with its teacher, and score the labels."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semiovs.calibration.calibration import identify_teacher
from semiovs.calibration.card import TeacherCard, make_card
from semiovs.evaluation import ConfusionMatrix
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.ovs import build_ovs
from semiovs.ovs.label import label_images
from semiovs.store import PseudoLabelStore
from semiovs.store.stats import count_classes, measure_confidence
from semiovs.vocab.vocabulary import Vocabulary

#: The teacher, and its batch size.
TEACHER, _TOGETHER = "small", 16


@dataclass(frozen=True)
class OodLabels:
    """The labels of a world's OOD images.

    miou, iou: against the truth, percent; share: of the pixels, by class; confidence: mean, by class that occurs;
    concepts: number of prompts.
    """

    images: int
    concepts: int
    miou: float
    iou: dict[str, float]
    share: dict[str, float]
    confidence: dict[str, float]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        data = asdict(self)
        rounded = {key: {name: round(v, 4) for name, v in data[key].items()} for key in ("iou", "share", "confidence")}
        return {**data, "miou": round(self.miou, 2), "seconds": round(self.seconds, 1), **rounded}


def label_ood(world: Path) -> OodLabels:
    """Label ``world/ood`` into the store ``world/ood-labels``, like ``semiovs label``, and score it with the truth."""
    begin = time.perf_counter()
    vocabulary = Vocabulary.load(world / "classes.yaml")
    teacher = build_ovs(TEACHER, device="cpu")
    store = PseudoLabelStore.create(world / "ood-labels", vocabulary, teacher=identify_teacher(TEACHER, teacher))
    label_images(teacher, Manifest.from_folder(world / "ood"), vocabulary, store, batch_size=_TOGETHER)
    seconds = time.perf_counter() - begin
    truth, matrix = MaskReader(vocabulary.names), ConfusionMatrix(len(vocabulary))
    for identifier in store.ids():
        matrix.update(store.label(identifier), truth(world / "ood-truth" / f"{identifier}.png"))
    counts = count_classes(store)
    total = sum(counts.pixels.values()) + counts.ignored
    return OodLabels(
        images=counts.images,
        concepts=len(vocabulary.prompts),
        miou=matrix.miou(),
        iou={name: float(iou) for name, iou in zip(vocabulary.names, matrix.iou(), strict=True)},
        share={name: pixels / total for name, pixels in counts.pixels.items()},
        confidence=measure_confidence(store, store.ids()).by_class,
        seconds=seconds,
    )


def make_teacher_card(world: Path) -> TeacherCard:
    """Teacher card for the labelled images of a world, like ``semiovs card``."""
    vocabulary = Vocabulary.load(world / "classes.yaml")
    teacher = build_ovs(TEACHER, device="cpu")
    labeled = Manifest.from_folder(world / "images", world / "masks")
    who = identify_teacher(TEACHER, teacher)
    return make_card(teacher, who, labeled, MaskReader(vocabulary.names), vocabulary, batch_size=_TOGETHER)
