"""Choose the sizes of a training, crop, batch and steps, from the images of a folder and the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from statistics import median_low

from semiovs.errors import DataError
from semiovs.images.discover.lists import iterate_images
from semiovs.images.discover.recipe import Recipe
from semiovs.images.discover.survey import Survey
from semiovs.images.image import read_size

#: Largest crop on a CPU, pixels, and batches, with a GPU and without.
_CPU_CROP, _BATCHES = 160, (8, 4)
#: Crops for which the decoder's own dilations are made.
_DILATED_CROP = 320
#: Dilations of the decoder, made for crops of the first size.
_DILATIONS = (6, 12, 18)
#: Bytes of GPU memory below which the batch is that of a CPU.
_ENOUGH = 6 * 2**30
#: Images that are measured, spread over this many.
_MEASURED, _LISTED = 32, 2000
#: Steps on a GPU: so many passes over the images without masks, within these bounds.
_PASSES, _FEWEST, _MOST = 40, 1000, 20_000
#: Seconds that a training without a GPU may take, and how often it is evaluated, which costs as much again.
_PATIENCE, _EVALUATIONS = 900, 4
#: Share of a training that the teacher is an average over, where the presets' 0.996 (250 steps) would be more of it.
_AVERAGED, _USUAL_DECAY = 10, 0.996


@dataclass(frozen=True)
class Sizes:
    """Sizes and, for each, why it is so and what to change for more (the comments of the starter file).

    dilations: of the decoder, where the crops are too small for its own; eval_every: steps between evaluations, where
    they are to be fewer than usual; ema_decay: of the teacher that is an average of the student, where the preset's is
    too slow for so few steps.
    """

    crop_size: int
    batch_size: int
    steps: int
    crop_reason: str
    batch_reason: str
    steps_reason: str
    dilations: tuple[int, ...] | None = None
    eval_every: int | None = None
    ema_decay: float | None = None

    @property
    def dilations_reason(self) -> str:
        """Why there are others than the decoder's own."""
        return (
            f"how far the decoder looks, in cells of 16 pixels; for crops of {self.crop_size}; those of "
            f"{_DILATED_CROP}: {list(_DILATIONS)}"
        )

    @property
    def ema_reason(self) -> str:
        """Why it is another than the preset's."""
        return f"the teacher is an average over a tenth of the steps; with {_AVERAGED * 250} steps and more 0.996"

    def as_json(self) -> dict[str, int | float | list[int]]:
        """Dotted key -> value."""
        values: dict[str, int | float | list[int]] = {"data.crop_size": self.crop_size}
        if self.dilations is not None:
            values["model.dilations"] = list(self.dilations)
        values |= {"train.batch_size": self.batch_size, "train.steps": self.steps}
        rare = {"train.eval_every": self.eval_every, "method.ema_decay": self.ema_decay}
        return {**values, **{key: value for key, value in rare.items() if value is not None}}


def choose_sizes(found: Survey, gpu_memory: int | None, recipe: Recipe) -> Sizes:
    """Choose the sizes for what was found. gpu_memory: bytes of the GPU to train on; None without one."""
    crop, crop_reason = _choose_crop(found, gpu_memory, recipe)
    batch, batch_reason = _choose_batch(found.count_labeled() if found.labeled else 0, gpu_memory)
    steps, steps_reason = _choose_steps(found, crop, batch, gpu_memory)
    seldom = steps // _EVALUATIONS if gpu_memory is None else None
    return Sizes(
        crop,
        batch,
        steps,
        crop_reason,
        batch_reason,
        steps_reason,
        _choose_dilations(crop) if recipe.dilated else None,
        seldom,
        _choose_decay(steps) if found.bare else None,
    )


def _choose_decay(steps: int) -> float | None:
    decay = round(1 - _AVERAGED / steps, 3)
    return decay if decay < _USUAL_DECAY else None


def _choose_dilations(crop: int) -> tuple[int, ...] | None:
    """Dilations that shrink with the crop: weights that look beyond it see only its padding while they are trained,
    and other things in whole images.
    """
    if crop >= _DILATED_CROP:
        return None
    return tuple(max(1, dilation * crop // _DILATED_CROP) for dilation in _DILATIONS)


def _choose_crop(found: Survey, gpu_memory: int | None, recipe: Recipe) -> tuple[int, str]:
    most = _CPU_CROP if gpu_memory is None else recipe.largest_crop
    side = median_low(list(_measure_sides(found)) or [0])
    fitting = side // recipe.multiple * recipe.multiple
    crop = most if not side else max(recipe.least_crop, min(most, fitting))
    usual = f"the short side of the images is usually {side}" if side else "the images' sizes could not be read"
    if crop < most:
        return crop, f"pixels; {usual}; no crop need be larger"
    if gpu_memory is None:
        return crop, f"pixels; {usual}; for a CPU; larger shows more of each image, with a GPU {recipe.largest_crop}"
    return crop, f"pixels; {usual}; larger shows more of each image and takes more memory"


def _measure_sides(found: Survey) -> Iterator[int]:
    """Short sides of some of the images to train on."""
    images = list(islice(iterate_images(found.folder, found.lists, found.made), _LISTED))
    for path in images[:: -(-len(images) // _MEASURED) or 1]:
        with suppress(DataError):  # `data check` says what is wrong with it
            yield min(read_size(path))


def _choose_batch(labeled: int, gpu_memory: int | None) -> tuple[int, str]:
    most = _BATCHES[gpu_memory is None or gpu_memory < _ENOUGH]
    batch = max(2, min(most, labeled)) if labeled else most
    what = "labelled images a step, and as many without masks"
    if batch < most:
        return batch, f"{what}; there are no more than {labeled} with masks"
    if gpu_memory is None:
        return batch, f"{what}; for a CPU; with a GPU {_BATCHES[0]}"
    return batch, f"{what}; lower it if memory runs out"


def _choose_steps(found: Survey, crop: int, batch: int, gpu_memory: int | None) -> tuple[int, str]:
    labeled = found.count_labeled() if found.labeled else 0
    images = found.count_bare() if found.bare else labeled
    wanted = _follow_images(images, batch)
    affordable = max(_round_down(_PATIENCE / _estimate_step(crop, batch)), 100)
    if gpu_memory is None and affordable < wanted:
        minutes = round(affordable * _estimate_step(crop, batch) / 60)
        more = _follow_images(images, _choose_batch(labeled, _ENOUGH)[0])
        return affordable, f"some {minutes} minutes on one core of a CPU; more learn more, with a GPU {more}"
    passes = f"{wanted * batch / images:.0f} passes over {images} images" if images else "for few images"
    return wanted, f"{passes}; for a first look: train.steps=200"


def _follow_images(images: int, batch: int) -> int:
    return min(max(_round_down(_PASSES * images / batch), _FEWEST), _MOST)


def _estimate_step(crop: int, batch: int) -> float:
    """Seconds of a step of `modern/small` on one core of a server's CPU, as measured for 2 and 4 images and crops of 64
    to 160 pixels.
    """
    return 0.25 + 0.48 * batch * (crop / 160) ** 2


def _round_down(steps: float) -> int:
    return int(steps) // 100 * 100
