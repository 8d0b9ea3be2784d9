"""The section ``ood`` of a configuration: images from elsewhere with labels of a teacher."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from semiovs.config.section import Float, Int, Section


def expand_images(value: Any) -> Any:
    """Let ``ood=DIR`` stand for ``ood.images=DIR``."""
    return {"images": value} if isinstance(value, str) else value


class OodConfig(Section):
    """Out-of-distribution images with labels from elsewhere (SemiOVS)."""

    images: str = Field("ood", description="folder, list, manifest, tars or hf:NAME of OOD images")
    labels: str | None = Field(
        "ood-labels",
        description="pseudo-label store written by `semiovs label` (or a folder of masks); null: the masks of the list "
        "in `images`, if it names any",
    )
    weight: Annotated[Float, Field(ge=0)] | Literal["auto"] | None = Field(
        None,
        description="λ; null: the method's published value; auto: starts there and is halved when the mIoU on "
        "data.held_out falls behind (logged as `log/ood_weight`)",
    )
    mode: Literal["ovs", "naive", "placebo"] = Field(
        "ovs",
        description="source of the labels: ovs, the store; for comparison naive, the method itself (valid pixels are "
        "those of `labels`, where there are labels), and placebo, the store, but each image has another one's",
    )
    confidence: Literal["ones", "score", "calibrated", "soft"] = Field(
        "ones",
        description="ones: as published; score: the store's confidence, compared with method.conf_thresh; "
        "calibrated: the store's probabilities (`semiovs label --calibration`) as weights; soft: as the label's share "
        "of a soft target",
    )
    batch_size: Int | None = Field(
        None, ge=1, description="OOD images a step and rank; null: as many as unlabelled ones"
    )
