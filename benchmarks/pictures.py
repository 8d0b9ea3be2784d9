"""Synthetic photographs: amplitudes that fall like 1/f compress and decode about as real ones do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def make(folder: Path, count: int, size: tuple[int, int]) -> list[tuple[Path, Path]]:
    """JPEG images of quality 90 and PNG masks with 21 classes in patches, some of them ignored."""
    pairs = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        image, mask = folder / f"{seed}.jpg", folder / f"{seed}.png"
        Image.fromarray(_texture(rng, size)).save(image, quality=90)
        Image.fromarray(_patches(rng, size)).save(mask)
        pairs.append((image, mask))
    return pairs


def find(folder: Path, count: int) -> list[tuple[Path, Path]]:
    """`count` photographs (JPEG) of `folder`/images, spread over all of them, with their masks in `folder`/labels."""
    masks = {mask.stem: mask for mask in (folder / "labels").rglob("*.png")}
    found = [(image, masks[image.stem]) for image in sorted((folder / "images").rglob("*.jpg")) if image.stem in masks]
    if not found:
        raise SystemExit(f"{folder}: no images/*.jpg with a labels/*.png of the same name")
    return found[:: max(1, len(found) // count)][:count]


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    layers = 0.7 * _noise(rng, size)[..., None] + 0.4 * np.stack([_noise(rng, size) for _ in range(3)], axis=-1)
    out: NDArray[np.uint8] = np.clip(layers / layers.std() * 55 + rng.uniform(90, 150), 0, 255).astype(np.uint8)
    return out


def _patches(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    field: NDArray[np.uint8] = np.digitize(_noise(rng, size, power=2.0), np.linspace(-2, 2, 20)).astype(np.uint8)
    field[: size[1] // 40] = 255
    return field


def _noise(rng: np.random.Generator, size: tuple[int, int], power: float = 1.0) -> NDArray[np.float64]:
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency**power
    spectrum[0, 0] = 0
    values: NDArray[np.float64] = np.fft.irfft2(spectrum, s=(height, width))
    values /= values.std()
    return values
