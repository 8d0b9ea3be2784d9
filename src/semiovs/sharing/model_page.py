"""The README of a shared model: what it is, how to use it, what it scores, what it was made of, and its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from semiovs.data.collection import OOD, UNLABELED
from semiovs.run_page.scores import ImageScores
from semiovs.vocab.vocabulary import Vocabulary

#: Percent of IoU below which a class is called weak.
WEAK = 30.0


@dataclass(frozen=True)
class SharedModel:
    """What the page says of a model.

    name: of the repository or folder; vocabulary: its classes; architecture: such as "deeplabv3plus on the encoder
    resnet50s"; method: of its training; images: stream (`data.collection`) -> number of images; steps, seed: of the
    training; scores: on the evaluation images, None where there were none; data: name of the data set; weights: (what
    it was made with, what is known of the licence); licence: identifier of the hub, such as ``apache-2.0``, None if its
    owner states none; version: of semiovs, by which it was trained; is_best: chosen for its score.
    """

    name: str
    vocabulary: Vocabulary
    architecture: str
    method: str
    images: Mapping[str, int]
    steps: int
    seed: int
    scores: ImageScores | None
    data: str
    weights: Sequence[tuple[str, str]]
    licence: str | None
    version: str
    is_best: bool = False

    def write(self) -> str:
        """The page: metadata for the hub in YAML, then Markdown."""
        page = Environment(
            loader=PackageLoader("semiovs.sharing", ""), undefined=StrictUndefined, keep_trailing_newline=True
        )  # not HTML, so nothing is escaped for it
        page.filters.update(plain=_escape, number=_format)
        text = page.get_template("model_page.md").render(
            model=self,
            version=self.version,
            scores=self.scores,
            images=", ".join(f"{number} {stream}" for stream, number in self.images.items()),
            weak=[one.name for one in self.scores.classes if not one.iou >= WEAK] if self.scores else [],
            weak_below=_format(WEAK).removesuffix(".0"),
            learnt_from_programs=any(self.images.get(stream) for stream in (UNLABELED, OOD)),
        )
        return f"---\n{self._metadata().to_yaml()}\n---\n\n{text}"

    def _metadata(self) -> Any:
        """Data for the hub's own search and tables."""
        from huggingface_hub import EvalResult, ModelCardData

        result = None
        if self.scores is not None:
            result = EvalResult(
                task_type="image-segmentation",
                dataset_type=self.data,
                dataset_name=self.data,
                dataset_split="val",
                metric_type="mean_iou",
                metric_name="mIoU (%)",
                metric_value=round(self.scores.miou, 2),
            )
        return ModelCardData(
            library_name="semiovs",
            pipeline_tag="image-segmentation",
            license=self.licence,
            tags=["semantic-segmentation", "semi-supervised-learning", self.method],
            model_name=self.name,
            eval_results=None if result is None else [result],
        )


def _escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in plain)


def _format(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"
