"""Segment images with a trained model: from a path, PIL image, array or tensor to labels."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from semiovs.config.schema import EvalConfig
from semiovs.errors import (
    DataError,
    SemiovsWarning,
    UsageError,
    WeightsError,
    about,
    did_you_mean,
    is_out_of_memory,
    require_memory,
)
from semiovs.evaluation.evaluate import normalize_image
from semiovs.evaluation.memory_fallback import ADVICE, MemoryFallback
from semiovs.images.conventions import IGNORE
from semiovs.images.readers import RGB, BandReader, ImageReader
from semiovs.images.readers import Picture as Seen
from semiovs.images.tile_source import DecodedPicture, TileSource
from semiovs.inference.picture_forms import Picture, read_picture
from semiovs.inference.prediction import Prediction
from semiovs.inference.score_file import PutScores
from semiovs.inference.tiles import LabelBlock, Tiling, choose_tiling, label_tiles, parse_tile
from semiovs.models.device import pick_device
from semiovs.models.segmenter import Normalization, Segmenter
from semiovs.models.tiling import VIEWING, Strip, covered, predict_strips
from semiovs.models.weights import load_model
from semiovs.vocab.vocabulary import Vocabulary

#: Labels uint8 and confidences (h, w) of what was found for an image, on the CPU.
Found = tuple[Tensor, Tensor]
_PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Predictor:
    """A trained segmenter with everything needed to predict.

    model: on the device to use; vocabulary: its classes; settings: ``eval.*``; images: reader of image files,
    `images.readers.BandReader` for a model of bands. trained_size: usual (width, height) of the training images, where
    the weights tell it. precision: fp32, or bf16 or fp16 (autocast; fp16 on a GPU alone). tile: larger pictures are
    predicted in blended tiles of this side; auto: those that would take more than 4 GiB, in tiles of 1024; None: none.

    A picture that does not fit into memory as a whole (``eval.mode: whole``) is predicted in windows, with a warning.
    """

    def __init__(
        self,
        model: Segmenter,
        vocabulary: Vocabulary,
        settings: EvalConfig | None = None,
        normalization: Normalization | None = None,
        images: ImageReader = RGB,
        *,
        precision: str = "fp32",
        tile: int | str | None = None,
    ) -> None:
        self.model = model.eval()
        self.vocabulary = vocabulary
        self.settings = settings or EvalConfig()
        self.normalization = normalization or model.normalization
        self.images = images
        self.device = next(model.parameters()).device
        self.trained_size: tuple[int, int] | None = None
        self.precision = _check_precision(precision, self.device)
        self.tile = parse_tile(tile)
        self._through: dict[str, Any] = {}
        self._together = 1 << 30  # pictures that fit into memory together
        self._lock: AbstractContextManager[object] = Lock() if self.device.type == "cuda" else nullcontext()

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        which: str | None = None,
        device: torch.device | str = "auto",
        precision: str = "fp32",
        tile: int | str | None = None,
        **settings: Any,
    ) -> Predictor:
        """Load a run directory (its best checkpoint), a checkpoint or a safetensors file.

        which: `student` or `ema`, None takes the EMA where there is one; device: auto takes the GPU where there is one;
        precision, tile: see `Predictor`; settings: any of ``eval.*`` (`tiling.VIEWING`, `batch_size`) over those that
        the model was trained with.

        Raises:
            WeightsError: missing, damaged, or not written by semiovs; UsageError: no such device, precision, model or
            setting.
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
            precision=precision,
            tile=tile,
        )
        predictor.trained_size = card.image_size
        return predictor

    def __call__(self, picture: Picture) -> Prediction:
        """Segment one image: a path, a PIL image (EXIF orientation is applied), a uint8 array of RGB (H, W, 3) or gray
        (H, W), or a uint8 tensor (3, H, W).

        A model of bands takes a path, or an array (H, W) or (H, W, C) or tensor (C, H, W) with the channels and values
        of such a file. The same image gives the same labels in each of these forms.

        Raises:
            DataError: unreadable, or something else; ResourcesError: it does not fit into memory, not even in windows.
        """
        where = _name(picture)
        with require_memory(where, ADVICE):
            seen, image = self.read(picture)
            return self.predict_read([(where, seen, image)])[0]

    def stream(self, pictures: Iterable[Picture], *, batch_size: int | None = None) -> Iterator[Prediction]:
        """Segment pictures one after the other, in order and lazily: any that a call takes, of any sizes.

        batch_size: pictures that are read ahead; those of one size among them go through the model together. None:
        ``eval.batch_size``, else 1.

        Raises:
            UsageError: no positive batch size; others as a call, in the picture's place in the order.
        """
        together = batch_size if batch_size is not None else self.settings.batch_size or 1
        if together < 1:
            raise UsageError(f"batch_size {batch_size}: must be at least 1")
        one = isinstance(pictures, str | Path | Image.Image) or getattr(pictures, "ndim", 4) < 4
        if one or not isinstance(pictures, Iterable):
            raise DataError(f"pictures: {type(pictures).__name__}; stream takes a list or iterator of pictures")
        source = iter(pictures)
        while chunk := list(islice(source, together)):
            with require_memory(_name(chunk[0]), ADVICE):
                read = [(_name(picture), *self.read(picture)) for picture in chunk]
                yield from self.predict_read(read)

    def predict_read(self, pictures: Sequence[tuple[str, Seen, Image.Image]]) -> list[Prediction]:
        """Segment pictures that are read already, those of one size together; each with its name in errors, as the
        model sees it, and as people do (`picture_forms.read_picture`).

        Raises:
            ResourcesError: one does not fit into memory.
        """
        found: dict[int, Found] = {}
        sizes = [(seen.height, seen.width) for _, seen, _ in pictures]
        for size in dict.fromkeys(sizes):
            members = [number for number, one in enumerate(sizes) if one == size]
            seen, names = [pictures[n][1] for n in members], [pictures[n][0] for n in members]
            found |= zip(members, self._find_all(seen, names), strict=True)
        return [self._make_prediction(*one[1:], found[n], one[0]) for n, one in enumerate(pictures)]

    def choose_tiling(self, size: tuple[int, int]) -> Tiling | None:
        """Tiles for an image of `size` (width, height): see `tiles.choose_tiling`."""
        bands = self.images.bands or 3
        return choose_tiling(size, self.settings, tile=self.tile, bands=bands, classes=len(self.vocabulary))

    def label_tiles(self, source: TileSource, tiling: Tiling, where: str, **options: Any) -> Iterator[LabelBlock]:
        """Label an image that is read part by part; options as of `tiles.label_tiles`.

        Raises:
            DataError: unreadable; ResourcesError: a tile does not fit into memory.
        """
        score = partial(self.score, where=where)
        yield from label_tiles(source, tiling, score, classes=len(self.vocabulary), **options)

    def score(self, seen: Seen, where: str = "picture") -> Tensor:
        """Probabilities (K, H, W) float32 of a picture, on the CPU; 0 where the settings do not cover it."""
        whole = torch.zeros(len(self.vocabulary), seen.height, seen.width)

        def put(rows: slice, part: Any) -> None:
            whole[:, rows] = torch.from_numpy(part)

        self._find_scores(seen, put, where)
        return whole

    def fingerprint(self) -> str:
        """Hash of what results depend on: weights, classes, settings, how images are read (16 hex digits)."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        settings = self.settings.model_dump(include=set(VIEWING))
        bands = self.images.as_json() if isinstance(self.images, BandReader) else None
        facts = [settings, self.vocabulary.as_json(), self.normalization.mean, self.normalization.std, bands]
        digest.update(json.dumps([*facts, self.precision, self.tile], sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def _make_prediction(self, seen: Seen, image: Image.Image, found: Found, where: str) -> Prediction:
        labels = torch.full((image.height, image.width), IGNORE, dtype=torch.uint8)
        confidence = torch.zeros(image.height, image.width)
        region = self._covered_region(image)
        labels[region], confidence[region] = found
        scores = partial(self._find_scores, seen, where=where)
        return Prediction(image, labels.numpy(), confidence.numpy(), scores, self.vocabulary)

    def read(self, picture: object) -> tuple[Seen, Image.Image]:
        """The model's input image, and an RGB image for people."""
        return read_picture(picture, self.images)

    def _find_all(self, seen: Sequence[Seen], names: Sequence[str]) -> list[Found]:
        """What is found for pictures of one size."""
        tiling = self.choose_tiling((seen[0].width, seen[0].height))
        if len(seen) > self._together:
            parts = range(0, len(seen), self._together)
            step = self._together
            return [one for n in parts for one in self._find_all(seen[n : n + step], names[n : n + step])]
        if len(seen) == 1 or tiling is not None:
            return [self._find_one(one, name, tiling) for one, name in zip(seen, names, strict=True)]
        try:
            with self._lock:
                labels, confidences = self._find_together(seen, {key: getattr(self.settings, key) for key in VIEWING})
            return list(zip(labels, confidences, strict=True))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self._together = max(1, len(seen) // 2)
        text = f"{names[0]}: {len(seen)} pictures of {seen[0].width}x{seen[0].height} pixels do not fit into memory "
        warnings.warn(f"{text}together: {self._together} from here on (--batch-size)", SemiovsWarning, stacklevel=2)
        return self._find_all(seen, names)

    def _find_one(self, seen: Seen, where: str, tiling: Tiling | None) -> Found:
        with about(where) if where != "picture" else nullcontext():
            if tiling is None:
                return self._find_labels(seen, where)
            labels = torch.full((seen.height, seen.width), IGNORE, dtype=torch.uint8)
            confidence = torch.zeros(seen.height, seen.width)
            shown = seen if isinstance(seen, Image.Image) else Image.new("RGB", (seen.width, seen.height))
            for block in self.label_tiles(DecodedPicture(seen, shown), tiling, where):
                labels[block.rows, block.columns] = torch.from_numpy(block.labels)
                confidence[block.rows, block.columns] = torch.from_numpy(block.confidence)
            return labels, confidence

    def _find_labels(self, seen: Seen, where: str) -> Found:
        """Labels uint8 and confidences of the covered region (h, w), on the CPU."""

        def find(through: dict[str, Any]) -> Found:
            with self._lock:
                labels, confidences = self._find_together([seen], through)
            return labels[0], confidences[0]

        return self._fallback.run((seen.width, seen.height), where, find)

    @torch.inference_mode()
    def _find_together(self, seen: Sequence[Seen], through: dict[str, Any]) -> Found:
        """Labels uint8 and confidences (B, h, w) of the covered region of pictures of one size, on the CPU."""
        labels, confidences = [], []
        for _, part in self._predict(seen, through):
            confidence, label = part.max(dim=1)
            labels.append(label.to(torch.uint8).cpu())
            confidences.append(confidence.cpu())
        return torch.cat(labels, dim=1), torch.cat(confidences, dim=1)

    @torch.inference_mode()
    def _find_scores(self, seen: Seen, put: PutScores, where: str) -> None:
        """Call `put` with the scores of all rows, in strips; all over again if the image turns out not to fit."""
        rows, columns = self._covered_region(seen)
        covers_all = (rows.stop - rows.start, columns.stop - columns.start) == (seen.height, seen.width)

        def find(through: dict[str, Any]) -> None:
            with self._lock:
                for strip, part in self._predict([seen], through):
                    found = part[0].cpu()
                    if not covers_all:
                        whole = found.new_zeros(len(found), seen.height, seen.width)
                        whole[:, rows, columns] = found
                        strip, found = slice(0, seen.height), whole
                    put(strip, found.numpy())

        self._fallback.run((seen.width, seen.height), where, find)

    def _predict(self, images: Sequence[Seen], through: dict[str, Any]) -> Iterator[Strip]:
        """Probabilities (B, K, h, w) of the covered region in strips, on the device."""
        pixels = torch.cat([normalize_image(image, self.normalization, self.device) for image in images])
        with self._autocast():
            for rows, logits in predict_strips(self.model, pixels, **through):
                yield rows, logits.float().softmax(dim=1)

    def _autocast(self) -> AbstractContextManager[object]:
        kind = _PRECISIONS[self.precision]
        return nullcontext() if kind is None else torch.autocast(self.device.type, dtype=kind)

    @property
    def _fallback(self) -> MemoryFallback:
        through = {key: getattr(self.settings, key) for key in VIEWING}
        if self._through != through:  # settings may be replaced
            self._through, self._known = through, MemoryFallback(through, self.device)
        return self._known

    def _covered_region(self, image: Seen) -> tuple[slice, slice]:
        return covered((image.height, image.width), mode=self.settings.mode, window=self.settings.window)


def _name(picture: object) -> str:
    return str(picture) if isinstance(picture, str | Path) else "picture"


def _check_precision(precision: str, device: torch.device) -> str:
    if precision not in _PRECISIONS:
        raise UsageError(f"precision '{precision}' is not known{did_you_mean(str(precision), _PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("precision fp16 needs a GPU; take bf16 or fp32 on the CPU")
    return precision


def _validate_settings(given: dict[str, Any]) -> EvalConfig:
    try:
        return EvalConfig.model_validate(given)
    except ValidationError as error:  # its own text takes several lines a problem
        told = "; ".join(f"eval.{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise UsageError(told) from None
