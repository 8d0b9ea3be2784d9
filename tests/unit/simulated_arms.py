"""Made-up evaluations of two arms, in which the true difference is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from semiovs.comparison.areas import ImageAreas, compute_iou

#: Of the five classes: how often they are in an image, how large, how well they are recognised (logit of recall).
PRESENCE = np.array([1, 0.9, 0.7, 0.5, 0.3])
SIZE = np.array([4, 2, 1, 0.5, 0.25])
SKILL = np.array([2.5, 1.5, 1, 0.5, 0])
#: Which class a wrong pixel is taken for.
MISTAKEN_FOR = np.array([0.4, 0.25, 0.15, 0.12, 0.08])
PIXELS = 10_000


@dataclass(frozen=True)
class Mix:
    """Standard deviations on the scale of the logit of recall, and the gain of the other arm on it.

    image: how hard an image is, in both arms; seed: how good a training is, whatever the image; image_arm: what an arm
    makes of an image with every seed; noise: what one training makes of one image.
    """

    seed: float
    image_arm: float
    noise: float
    image: float = 0.8
    gain: float = 0.15


MIXES = {
    "seeds differ most": Mix(seed=0.25, image_arm=0.15, noise=0.2),
    "images differ most": Mix(seed=0.03, image_arm=0.55, noise=0.3),
    "both alike": Mix(seed=0.12, image_arm=0.35, noise=0.3),
    "noise of one seed on one image": Mix(seed=0.02, image_arm=0.05, noise=1.2),
}


def draw_areas(rng: np.random.Generator, mix: Mix, images: int, seeds: int, like: bool = False):
    """Target (N, K), predicted and hit (2, S, N, K), int64; `like`: seeds and noise of both arms are the same, which
    leaves expected differences as they are.
    """
    k = len(SIZE)
    arms = 1 if like else 2

    def effect(sd: float, *shape: int) -> np.ndarray:
        """Of all classes together, and half as much of each."""
        return rng.normal(0, sd, (*shape, 1)) + rng.normal(0, sd / 2, (*shape, k))

    size = rng.gamma(SIZE, size=(images, k)) * (rng.random((images, k)) < PRESENCE)
    target = np.round(PIXELS * size / size.sum(axis=1, keepdims=True))
    logit = SKILL + effect(mix.image, 1, 1, images) + effect(mix.image_arm, 2, 1, images)
    logit = logit + effect(mix.seed, arms, seeds, 1) + effect(mix.noise, arms, seeds, images)
    logit[1] += mix.gain
    hit = np.round(target / (1 + np.exp(-logit)))
    missed = (target - hit) / (1 - MISTAKEN_FOR)
    predicted = hit + np.round(MISTAKEN_FOR * (missed.sum(axis=-1, keepdims=True) - missed))
    return target.astype(np.int64), predicted.astype(np.int64), hit.astype(np.int64)


def draw_arms(rng: np.random.Generator, mix: Mix, images: int = 60, seeds: int = 6) -> tuple[list[ImageAreas], ...]:
    """Base and other, one entry a seed."""
    target, predicted, hit = draw_areas(rng, mix, images, seeds)
    ids = tuple(f"{i:05d}" for i in range(images))
    return tuple([ImageAreas(ids, target, predicted[a, s], hit[a, s]) for s in range(seeds)] for a in (0, 1))


@cache
def find_true_differences(mix: Mix) -> np.ndarray:
    """(1 + K,) differences of the mean and of each class in the population, by 80,000 images with five seeds each."""
    rng, found = np.random.default_rng(99), []
    for _ in range(20):
        target, predicted, hit = draw_areas(rng, mix, 4000, 5, like=True)
        iou = compute_iou(target.sum(axis=0), predicted.sum(axis=2), hit.sum(axis=2)).mean(axis=1)
        found.append(iou[1] - iou[0])
    classes = np.mean(found, axis=0)
    return np.concatenate([[classes.mean()], classes])


def without_gain(mix: Mix) -> Mix:
    """The same arms, exchangeable: the true difference is 0."""
    return replace(mix, gain=0.0)
