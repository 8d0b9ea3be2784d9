"""Segment images with a trained model: from a path, PIL image or array to labels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import ValidationError
from torch import Tensor

from semiovs.config.schema import EvalConfig
from semiovs.errors import DataError, UsageError, about
from semiovs.evaluation.evaluate import normalize_image
from semiovs.images.conventions import IGNORE
from semiovs.images.image import read_image
from semiovs.images.pixels import Pixels, image_pixels, read_pixels
from semiovs.images.readers import RGB, BandReader, ImageReader
from semiovs.images.readers import Picture as Seen
from semiovs.models.device import pick_device
from semiovs.models.segmenter import Normalization, Segmenter
from semiovs.models.tiling import VIEWING, covered, predict_probabilities
from semiovs.models.weights import load_model
from semiovs.vocab.vocabulary import Vocabulary

Picture = str | Path | Image.Image | NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image, at the image's size as shown (EXIF orientation applied).

    image: RGB (of bands: those of `data.rgb`, else the first as gray); labels: (H, W) uint8 class ids (255
    outside the centre crop, if the model is run on one); confidence: (H, W) float32, probability of the label.
    """

    image: Image.Image
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    _compute: Callable[[], NDArray[np.float32]] = field(repr=False, compare=False)

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """(K, H, W) class probabilities; large, so computed by a second forward pass on first access."""
        return self._compute()


class Predictor:
    """A trained segmenter with everything needed to predict.

    model: on the device to use; vocabulary: its classes; settings: ``eval.*``; images: reader of image files,
    `images.readers.BandReader` for a model of bands.
    """

    def __init__(
        self,
        model: Segmenter,
        vocabulary: Vocabulary,
        settings: EvalConfig | None = None,
        normalization: Normalization | None = None,
        images: ImageReader = RGB,
    ) -> None:
        self.model = model.eval()
        self.vocabulary = vocabulary
        self.settings = settings or EvalConfig()
        self.normalization = normalization or model.normalization
        self.images = images
        self.device = next(model.parameters()).device

    @classmethod
    def load(
        cls, source: str | Path, *, which: str | None = None, device: torch.device | str = "auto", **settings: Any
    ) -> Predictor:
        """Load a run directory (its best checkpoint), a checkpoint or a safetensors file.

        which: `student` or `ema`, None takes the EMA where there is one; device: auto takes the GPU where there is one;
        settings: any of ``eval.*`` (`tiling.VIEWING`) over those that the model was trained with.

        Raises:
            WeightsError: missing, damaged, or not written by semiovs; UsageError: no such device, model or setting.
        """
        segmenter, card = load_model(source, which=which, device=pick_device(device))
        known = {key: value for key, value in card.evaluation.items() if key in EvalConfig.model_fields}
        return cls(
            segmenter,
            card.vocabulary,
            _validate_settings({**known, **{key: value for key, value in settings.items() if value is not None}}),
            card.normalization,
            card.images,
        )

    def __call__(self, picture: Picture) -> Prediction:
        """Segment one image: a path, a PIL image (EXIF orientation is applied) or a uint8 RGB array (H, W, 3).

        A model of bands takes a path, or an array (H, W) or (H, W, C) with the channels and values of such a file.

        Raises:
            DataError: unreadable, or an array of another shape or type.
        """
        seen, image = self._read(picture)
        with about(picture) if isinstance(picture, str | Path) else nullcontext():
            probabilities = self._compute_probabilities(seen)
        confidence, labels = probabilities.max(dim=0)
        whole_labels = torch.full((image.height, image.width), IGNORE, dtype=torch.uint8)
        whole_confidence = torch.zeros(image.height, image.width)
        rows, columns = self._covered_region(image)
        whole_labels[rows, columns] = labels.to(torch.uint8).cpu()
        whole_confidence[rows, columns] = confidence.cpu()
        return Prediction(image, whole_labels.numpy(), whole_confidence.numpy(), lambda: self._compute_scores(seen))

    def _read(self, picture: Picture) -> tuple[Seen, Image.Image]:
        """The model's input image, and an RGB image for people."""
        if not isinstance(self.images, BandReader):
            image = _to_rgb(picture)
            return image, image
        if isinstance(picture, str | Path):
            pixels, where = read_pixels(Path(picture)), str(picture)
        else:
            pixels, where = _to_pixels(picture), "picture"
        return self.images.seen(pixels, where), self.images.picture(pixels, where)

    def _compute_scores(self, image: Seen) -> NDArray[np.float32]:
        probabilities = self._compute_probabilities(image)
        whole = torch.zeros(probabilities.shape[0], image.height, image.width)
        rows, columns = self._covered_region(image)
        whole[:, rows, columns] = probabilities.cpu()
        found: NDArray[np.float32] = whole.numpy()
        return found

    @torch.inference_mode()
    def _compute_probabilities(self, image: Seen) -> Tensor:
        """(K, h, w) of the covered region, on the device."""
        through = {key: getattr(self.settings, key) for key in VIEWING}
        return predict_probabilities(self.model, normalize_image(image, self.normalization, self.device), **through)[0]

    def _covered_region(self, image: Seen) -> tuple[slice, slice]:
        return covered((image.height, image.width), mode=self.settings.mode, window=self.settings.window)


def _validate_settings(given: dict[str, Any]) -> EvalConfig:
    try:
        return EvalConfig.model_validate(given)
    except ValidationError as error:  # its own text takes several lines a problem
        told = "; ".join(f"eval.{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise UsageError(told) from None


def _to_pixels(picture: Image.Image | NDArray[Any]) -> Pixels:
    if isinstance(picture, Image.Image):
        return image_pixels(picture)
    values = np.asarray(picture)
    if values.ndim not in (2, 3) or values.dtype.kind not in "uif" or not values.size:
        raise DataError(
            f"picture: {values.dtype} array of shape {values.shape}; must be (height, width, channels), as in the files"
        )
    return Pixels(values[..., None] if values.ndim == 2 else values)


def _to_rgb(picture: Picture) -> Image.Image:
    if isinstance(picture, str | Path):
        return read_image(Path(picture))
    if isinstance(picture, Image.Image):
        return ImageOps.exif_transpose(picture).convert("RGB")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DataError(
            f"picture: {picture.dtype} array of shape {picture.shape}; must be uint8 RGB (height, width, 3)"
        )
    return Image.fromarray(np.ascontiguousarray(picture))
