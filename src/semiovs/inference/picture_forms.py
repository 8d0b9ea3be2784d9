"""Pictures as programs hand them over: paths, PIL images, arrays, tensors; each becomes what a model sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiovs.errors import DataError, is_out_of_memory
from semiovs.images.image import convert_to_rgb, read_image
from semiovs.images.orientation import orient_image, read_orientation
from semiovs.images.pixels import Pixels, decode_pixels, read_pixels
from semiovs.images.readers import BandReader, ImageReader
from semiovs.images.readers import Picture as Seen

Picture = str | Path | Image.Image | NDArray[Any] | Tensor

_ARRAYS = "a uint8 RGB array (height, width, 3) or gray (height, width)"


def read_picture(picture: object, images: ImageReader) -> tuple[Seen, Image.Image]:
    """The model's input image, and an RGB image for people.

    Raises:
        DataError: unreadable, or no picture.
    """
    if not isinstance(picture, str | Path | Image.Image | np.ndarray | Tensor):
        kind = type(picture).__name__
        several = "; several pictures: predictor.stream(pictures)" if isinstance(picture, list | tuple) else ""
        raise DataError(
            f"picture: {kind}; must be a path, a PIL image, {_ARRAYS} or a tensor (3, height, width){several}"
        )
    values = _to_array(picture) if isinstance(picture, Tensor) else picture
    if not isinstance(images, BandReader):
        image = _to_rgb(values)
        return image, image
    if isinstance(values, str | Path):
        pixels, where = read_pixels(Path(values)), str(values)
    else:
        pixels, where = _to_pixels(values), "picture"
    return images.to_bands(pixels, where), images.to_picture(pixels, where)


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
    gray = picture.ndim == 2
    if picture.dtype != np.uint8 or not (gray or (picture.ndim == 3 and picture.shape[2] == 3)) or not picture.size:
        raise DataError(f"picture: {picture.dtype} array of shape {picture.shape}; must be {_ARRAYS}")
    return Image.fromarray(np.ascontiguousarray(picture)).convert("RGB")


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
