"""What was found for one image: labels, confidences, and pictures of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.errors import UsageError, require_memory
from semiovs.evaluation.memory_fallback import ADVICE
from semiovs.files import write_bytes
from semiovs.images.overlay import overlay, palette_png
from semiovs.inference.score_file import PutScores, write_scores
from semiovs.vocab.vocabulary import Vocabulary

#: Pixels of the longer side of a picture that a notebook shows, at most.
_SHOWN_SIDE = 1024


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
        out = io.BytesIO()
        self._draw(self.image.resize(labels.shape[::-1]), labels).save(out, "PNG")
        return out.getvalue()

    def overlay(self, alpha: float = 0.5, *, legend: bool = True) -> Image.Image:
        """The image with each class tinted in its colour, and a legend of the classes that occur.

        alpha: 0 shows the image alone, 1 the colours alone.

        Raises:
            ValueError: alpha is outside [0, 1].
        """
        return self._draw(self.image, self.labels, alpha, legend=legend)

    def _draw(
        self, image: Image.Image, labels: NDArray[np.uint8], alpha: float = 0.5, *, legend: bool = True
    ) -> Image.Image:
        colors, names = (self.vocabulary.shown_colors, self.vocabulary.names) if self.vocabulary else ((), None)
        return overlay(image, labels, alpha, colors=colors, names=names if legend else None)

    def save(self, path: str | Path) -> None:
        """Write a file, atomically: ``.png`` the labels (a palette image: pixel values are class ids), ``.jpg`` the
        overlay, ``.npz`` the scores.

        Raises:
            UsageError: another ending; OSError: it cannot be written.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".png":
                colors = self.vocabulary.shown_colors if self.vocabulary else ()
                write_picture(path, palette_png(self.labels, colors), "PNG")
            case ".jpg" | ".jpeg":
                write_picture(path, self.overlay(), "JPEG")
            case ".npz":
                self.write_scores(path)
            case _:
                raise UsageError(f"{path}: .png saves the labels, .jpg the overlay, .npz the scores")

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


def write_picture(path: Path, image: Image.Image, form: str) -> None:
    """Write an image atomically; a full disk, which Pillow does not notice, is an OSError."""
    encoded = io.BytesIO()
    image.save(encoded, form, quality=90)
    write_bytes(path, encoded.getvalue())
