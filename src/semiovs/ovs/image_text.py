"""Teachers `tipsv2`, `siglip2` and `metaclip2`: image-text models of transformers (extra `hf`), read at every patch.

One class, with a tower for each kind (`semiovs.models.image_text.towers`); no code of a model's files is run.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from semiovs.errors import SemiovsWarning
from semiovs.models.device import pick_device
from semiovs.models.image_text.library import load_parts
from semiovs.models.image_text.text import PairedText
from semiovs.models.image_text.towers import ClipTower, NaflexTower, PatchTower, SiglipTower, TipsTower
from semiovs.models.text.encoder import fingerprint
from semiovs.models.weight_catalog import find_restricted
from semiovs.ovs.patch_text import PatchTextModel, check_numbers

#: Sentences for vocabularies that have none: the nine of TIPSv2's published measurement without training.
SENTENCES = (
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
)


class ImageTextModel(PatchTextModel):
    """A model of transformers with a tower for images and one for texts in the same space (`PatchTextModel`).

    weights: directory that `save_pretrained` (or a download from the hub) has filled, its name in the weights
    directory, or the name of a model on the hub. size: short side of the resized image, pixels. logit_scale: factor on
    the cosines before the softmax (inverse temperature); null: what the model has learnt.

    Raises:
        UsageError: numbers that no tower can use, or a model of another kind; WeightsError: the weights are not there;
        MissingExtraError: transformers is not installed, or too old for the model.
    """

    #: Name in the registry, and model type -> transformers' class of the model, and the tower that reads it.
    name: ClassVar[str]
    kinds: ClassVar[dict[str, tuple[str, type[PatchTower]]]]
    templates = SENTENCES

    def __init__(self, weights: str | Path, size: int, logit_scale: float | None, device: str) -> None:
        check_numbers(self.name, size, 1.0 if logit_scale is None else logit_scale)
        self.device, self.size = pick_device(device), size
        _warn_of_licence(self.name)
        classes = {kind: (model, "AutoImageProcessor", "AutoTokenizer") for kind, (model, _) in self.kinds.items()}
        self.kind, (model, pictures, tokenizer) = load_parts(str(weights), classes, teacher=self.name)
        self.identity = fingerprint(model.state_dict())
        model = model.eval().requires_grad_(False).to(self.device)
        self.tower = self.kinds[self.kind][1](model).eval()
        self.patch = self.tower.patch
        as_siglip = isinstance(self.tower, SiglipTower)
        self.text = PairedText(model, tokenizer, as_siglip=as_siglip, identity=f"{self.kind}:{self.identity}")
        self.logit_scale = float(self.learnt_scale(model) if logit_scale is None else logit_scale)
        if pictures.do_normalize:
            self.mean, self.std = tuple(pictures.image_mean), tuple(pictures.image_std)
        else:
            self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def learnt_scale(self, model: Any) -> Tensor:
        """The factor on cosines that the model was trained to."""
        scale: Tensor = model.logit_scale.exp()
        return scale

    def describe(self) -> dict[str, Any]:
        """Kind of model, hash of its weights, and what changes its answers."""
        return {"kind": self.kind, "weights": self.identity, "size": self.size, "logit_scale": self.logit_scale}

    def read_patches(self, images: Tensor) -> Tensor:
        """By the tower."""
        found: Tensor = self.tower(images)
        return found


class Tipsv2(ImageTextModel):
    """TIPSv2, trained for patches that agree with texts; needs transformers 5.14. Options: `ImageTextModel`."""

    name = "tipsv2"
    kinds: ClassVar = {"tipsv2": ("Tipsv2Model", TipsTower)}

    def __init__(
        self,
        weights: str | Path = "google/tipsv2-b14",
        size: int = 448,
        logit_scale: float | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(weights, size, logit_scale, device)

    def learnt_scale(self, model: Any) -> Tensor:
        """The inverse of its temperature."""
        scale: Tensor = 1 / model.temperature
        return scale


class Siglip2(ImageTextModel):
    """SigLIP 2 of fixed size or NaFlex, read by its pooling head. Options: `ImageTextModel`.

    Its own probabilities are of whole images (a sigmoid with a bias); patches get the softmax of all these teachers.
    """

    name = "siglip2"
    kinds: ClassVar = {"siglip": ("SiglipModel", SiglipTower), "siglip2": ("Siglip2Model", NaflexTower)}

    def __init__(
        self,
        weights: str | Path = "google/siglip2-base-patch16-512",
        size: int = 512,
        logit_scale: float | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(weights, size, logit_scale, device)


class MetaClip2(ImageTextModel):
    """MetaCLIP 2: CLIP trained on texts of 300 languages; not for commercial use. Options: `ImageTextModel`."""

    name = "metaclip2"
    kinds: ClassVar = {"metaclip_2": ("MetaClip2Model", ClipTower)}

    def __init__(
        self,
        weights: str | Path = "facebook/metaclip-2-worldwide-b16",
        size: int = 448,
        logit_scale: float | None = None,
        device: str = "auto",
    ) -> None:
        super().__init__(weights, size, logit_scale, device)


def _warn_of_licence(teacher: str) -> None:
    """Say where the published weights of a teacher are not for every use."""
    row = find_restricted(teacher)
    if row is not None:
        warnings.warn(
            f"teacher '{teacher}': its published weights are {row.restricts} ({row.licence}), which may hold for what "
            "learns from their labels too",
            SemiovsWarning,
            stacklevel=4,
        )
