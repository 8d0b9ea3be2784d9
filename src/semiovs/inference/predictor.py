"""Segment images with a trained model: from a path, PIL image or array to labels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from semiovs.config.schema import EvalConfig
from semiovs.errors import (
    DataError,
    UsageError,
    WeightsError,
    about,
    is_out_of_memory,
    require_memory,
)
from semiovs.evaluation.evaluate import normalize_image
from semiovs.evaluation.memory_fallback import ADVICE, MemoryFallback
from semiovs.images.conventions import IGNORE
from semiovs.images.image import convert_to_rgb, read_image
from semiovs.images.orientation import orient_image, read_orientation
from semiovs.images.overlay import overlay
from semiovs.images.pixels import Pixels, decode_pixels, read_pixels
from semiovs.images.readers import RGB, BandReader, ImageReader
from semiovs.images.readers import Picture as Seen
from semiovs.inference.score_file import PutScores, write_scores
from semiovs.models.device import pick_device
from semiovs.models.segmenter import Normalization, Segmenter
from semiovs.models.tiling import VIEWING, Strip, covered, predict_strips
from semiovs.models.weights import load_model
from semiovs.vocab.vocabulary import Vocabulary

Picture = str | Path | Image.Image | NDArray[Any] | Tensor

#: Pixels of the longer side of a picture that a notebook shows, at most.
_SHOWN_SIDE = 1024
_ARRAYS = "a uint8 RGB array (height, width, 3)"


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image, at the image's size as shown (EXIF orientation applied).

    image: RGB (of bands: those of `data.rgb`, else the first as gray); labels: (H, W) uint8 class ids (255
    outside the centre crop, if the model is run on one); confidence: (H, W) float32, probability of the label;
    vocabulary: the classes, where they are known.
    """

    image: Image.Image
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    _find_scores: Callable[[PutScores], None] = field(repr=False, compare=False)
    vocabulary: Vocabulary | None = field(default=None, repr=False, compare=False)

    def _repr_png_(self) -> bytes:
        """The overlay with its legend, at most `_SHOWN_SIDE` pixels on a side; notebooks show it."""
        every = max(1, -(-max(self.image.size) // _SHOWN_SIDE))
        labels = np.ascontiguousarray(self.labels[::every, ::every])
        colors, names = (self.vocabulary.shown_colors, self.vocabulary.names) if self.vocabulary else ((), None)
        out = io.BytesIO()
        overlay(self.image.resize(labels.shape[::-1]), labels, colors=colors, names=names).save(out, "PNG")
        return out.getvalue()

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """(K, H, W) class probabilities; large, so computed by a second forward pass on first access."""
        found: list[NDArray[np.float32]] = []

        def put(rows: slice, part: NDArray[np.float32]) -> None:
            if not found:
                found.append(np.zeros((len(part), *self.labels.shape), np.float32))
            found[0][:, rows] = part

        with require_memory("scores", ADVICE):
            self._find_scores(put)
        return found[0]

    def write_scores(self, path: Path) -> None:
        """Write ``scores`` as float16 (K, H, W), a ``.npz`` file; no more than a few rows of large ones are held."""
        write_scores(path, self._find_scores, self.labels.shape)


class Predictor:
    """A trained segmenter with everything needed to predict.

    model: on the device to use; vocabulary: its classes; settings: ``eval.*``; images: reader of image files,
    `images.readers.BandReader` for a model of bands. trained_size: usual (width, height) of the training images, where
    the weights tell it.

    A picture that does not fit into memory as a whole (``eval.mode: whole``) is predicted in windows, with a warning.
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
        self.trained_size: tuple[int, int] | None = None
        self._through: dict[str, Any] = {}

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
        try:
            _validate_settings(known)
        except UsageError as error:
            raise WeightsError(f"{source}: the model card cannot be read ({error}); the file is damaged") from None
        predictor = cls(
            segmenter,
            card.vocabulary,
            _validate_settings({**known, **{key: value for key, value in settings.items() if value is not None}}),
            card.normalization,
            card.images,
        )
        predictor.trained_size = card.image_size
        return predictor

    def __call__(self, picture: Picture) -> Prediction:
        """Segment one image: a path, a PIL image (EXIF orientation is applied), or a uint8 RGB array (H, W, 3) or
        tensor (3, H, W).

        A model of bands takes a path, or an array (H, W) or (H, W, C) or tensor (C, H, W) with the channels and values
        of such a file. The same image gives the same labels in each of these forms.

        Raises:
            DataError: unreadable, or something else; ResourcesError: it does not fit into memory, not even in windows.
        """
        where = str(picture) if isinstance(picture, str | Path) else "picture"
        with require_memory(where, ADVICE):
            seen, image = self._read(picture)
            with about(where) if isinstance(picture, str | Path) else nullcontext():
                found = self._find_labels(seen, where)
            return self._make_prediction(seen, image, found, where)

    def _make_prediction(self, seen: Seen, image: Image.Image, found: tuple[Tensor, Tensor], where: str) -> Prediction:
        labels = torch.full((image.height, image.width), IGNORE, dtype=torch.uint8)
        confidence = torch.zeros(image.height, image.width)
        region = self._covered_region(image)
        labels[region], confidence[region] = found
        scores = partial(self._find_scores, seen, where=where)
        return Prediction(image, labels.numpy(), confidence.numpy(), scores, self.vocabulary)

    def _read(self, picture: object) -> tuple[Seen, Image.Image]:
        """The model's input image, and an RGB image for people."""
        if not isinstance(picture, str | Path | Image.Image | np.ndarray | Tensor):
            kind = type(picture).__name__
            raise DataError(f"picture: {kind}; must be a path, a PIL image, {_ARRAYS} or a tensor (3, height, width)")
        values = _to_array(picture) if isinstance(picture, Tensor) else picture
        if not isinstance(self.images, BandReader):
            image = _to_rgb(values)
            return image, image
        if isinstance(values, str | Path):
            pixels, where = read_pixels(Path(values)), str(values)
        else:
            pixels, where = _to_pixels(values), "picture"
        return self.images.to_bands(pixels, where), self.images.to_picture(pixels, where)

    @torch.inference_mode()
    def _find_labels(self, seen: Seen, where: str) -> tuple[Tensor, Tensor]:
        """Labels uint8 and confidences of the covered region (h, w), on the CPU."""

        def find(through: dict[str, Any]) -> tuple[Tensor, Tensor]:
            labels, confidences = [], []
            for _, part in self._predict(seen, through):
                confidence, label = part[0].max(dim=0)
                labels.append(label.to(torch.uint8).cpu())
                confidences.append(confidence.cpu())
            return torch.cat(labels), torch.cat(confidences)

        return self._fallback.run((seen.width, seen.height), where, find)

    @torch.inference_mode()
    def _find_scores(self, seen: Seen, put: PutScores, where: str) -> None:
        """Call `put` with the scores of all rows, in strips; all over again if the image turns out not to fit."""
        rows, columns = self._covered_region(seen)
        covers_all = (rows.stop - rows.start, columns.stop - columns.start) == (seen.height, seen.width)

        def find(through: dict[str, Any]) -> None:
            for strip, part in self._predict(seen, through):
                found = part[0].cpu()
                if not covers_all:
                    whole = found.new_zeros(len(found), seen.height, seen.width)
                    whole[:, rows, columns] = found
                    strip, found = slice(0, seen.height), whole
                put(strip, found.numpy())

        self._fallback.run((seen.width, seen.height), where, find)

    def _predict(self, image: Seen, through: dict[str, Any]) -> Iterator[Strip]:
        """Probabilities (1, K, h, w) of the covered region in strips, on the device."""
        pixels = normalize_image(image, self.normalization, self.device)
        for rows, logits in predict_strips(self.model, pixels, **through):
            yield rows, logits.float().softmax(dim=1)

    @property
    def _fallback(self) -> MemoryFallback:
        through = {key: getattr(self.settings, key) for key in VIEWING}
        if self._through != through:  # settings may be replaced
            self._through, self._known = through, MemoryFallback(through, self.device)
        return self._known

    def _covered_region(self, image: Seen) -> tuple[slice, slice]:
        return covered((image.height, image.width), mode=self.settings.mode, window=self.settings.window)


def _validate_settings(given: dict[str, Any]) -> EvalConfig:
    try:
        return EvalConfig.model_validate(given)
    except ValidationError as error:  # its own text takes several lines a problem
        told = "; ".join(f"eval.{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise UsageError(told) from None


def _to_array(picture: Tensor) -> NDArray[Any]:
    """A tensor (C, H, W) as an array (H, W, C)."""
    if picture.ndim != 3:
        raise DataError(f"picture: tensor of shape {tuple(picture.shape)}; must be (3, height, width)")
    if picture.dtype == torch.bfloat16:
        raise DataError("picture: bfloat16 tensor; must be uint8, or for a model of bands the type of the files")
    array: NDArray[Any] = picture.detach().cpu().movedim(0, -1).numpy()
    return array


def _to_pixels(picture: Image.Image | NDArray[Any]) -> Pixels:
    if isinstance(picture, Image.Image):
        with _refusing(picture):
            return decode_pixels(picture)
    values = picture
    if values.ndim not in (2, 3) or values.dtype.kind not in "uif" or not values.size:
        raise DataError(
            f"picture: {values.dtype} array of shape {values.shape}; must be (height, width, channels), as in the files"
        )
    return Pixels(values[..., None] if values.ndim == 2 else values)


def _to_rgb(picture: str | Path | Image.Image | NDArray[Any]) -> Image.Image:
    """As `read_image`, whatever the form."""
    if isinstance(picture, str | Path):
        return read_image(Path(picture))
    if isinstance(picture, Image.Image):
        with _refusing(picture):
            return orient_image(convert_to_rgb(picture), read_orientation(picture))
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DataError(f"picture: {picture.dtype} array of shape {picture.shape}; must be {_ARRAYS}")
    return Image.fromarray(np.ascontiguousarray(picture))


@contextmanager
def _refusing(picture: Image.Image) -> Iterator[None]:
    """Decode a PIL image; whatever goes wrong becomes a DataError, as for a file (out of memory stays what it is)."""
    try:
        if not picture.width or not picture.height:
            raise DataError("picture: an image without pixels")
        picture.load()
        picture.filename = getattr(picture, "filename", "") or "picture"  # type: ignore[attr-defined]
        yield
    except DataError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise DataError(f"picture: cannot be read as an image: {error}") from None
