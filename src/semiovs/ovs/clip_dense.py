"""Teacher `clip-dense`: CLIP applied to every patch, without training (MaskCLIP; SemiVL spec, section 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from semiovs.errors import UsageError, WeightsError
from semiovs.models.clip_vit import DenseClipViT, clip_library
from semiovs.models.device import pick_device
from semiovs.models.text.clip import ClipText, open_model
from semiovs.models.text.encoder import fingerprint
from semiovs.ovs.patch_text import PatchTextModel, check_numbers


class DenseClip(PatchTextModel):
    """CLIP's vectors of patches and of texts (`PatchTextModel`).

    weights: a file with a whole CLIP (or its name in the weights directory), or a pretrained tag of open_clip; null:
    OpenAI's. model: any open_clip model whose image tower is a plain ViT; weights by OpenAI belong to the names with
    ``-quickgelu``. size: short side of the resized image, pixels. logit_scale: factor on the cosines before the softmax
    (inverse temperature); CLIP was trained with 100, smaller values give less certain scores.

    Raises:
        UsageError: no such model, one that has no plain ViT, or weights trained with another activation; WeightsError:
        no weights.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        model: str = "ViT-B-16-quickgelu",
        size: int = 448,
        logit_scale: float = 100.0,
        device: str = "auto",
    ) -> None:
        check_numbers("clip-dense", size, logit_scale)
        self.device = pick_device(device)
        self.model, self.size, self.logit_scale = model, size, logit_scale
        clip = _open(model, str(weights or "openai")).eval().requires_grad_(False)
        self.tower = DenseClipViT(clip.visual).eval().to(self.device)
        self.identity = fingerprint(clip.state_dict())
        self.patch, look = self.tower.patch, clip.visual.preprocess_cfg
        self.mean, self.std = tuple(look["mean"]), tuple(look["std"])
        clip.visual = None
        self.text = ClipText(clip.to(self.device), _load_tokenizer(model))

    def describe(self) -> dict[str, Any]:
        """Model, hash of its weights, and what changes its answers."""
        return {"model": self.model, "weights": self.identity, "size": self.size, "logit_scale": self.logit_scale}

    def read_patches(self, images: Tensor) -> Tensor:
        """By the value path of the last block."""
        (dense,) = self.tower(images)
        return dense  # type: ignore[no-any-return]


def _open(model: str, weights: str) -> Any:
    """The CLIP model on the CPU, in float32."""
    open_clip = clip_library()
    facts = open_clip.get_pretrained_cfg(model, weights)
    config = open_clip.get_model_config(model) or {}
    if facts.get("quick_gelu") and not config.get("quick_gelu"):
        raise UsageError(f"teacher 'clip-dense': weights '{weights}' belong to model={model}-quickgelu, not to {model}")
    try:
        return open_model(model, weights)
    except WeightsError as error:
        other = "labels of any other program do as well: --teacher masks --from DIR"
        raise WeightsError(f"teacher 'clip-dense': {error} (--weights FILE); {other}") from None


def _load_tokenizer(model: str) -> Any:
    return clip_library().get_tokenizer(model)
