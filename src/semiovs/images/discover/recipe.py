"""Choose the preset and the encoder for the images of a folder and the machine: which recipe an expert would begin
with.
"""

from __future__ import annotations

from dataclasses import dataclass

from semiovs.images.discover.survey import Survey

#: Labelled images below which the encoder is better left as it was trained.
FEW = 100
#: Bytes of GPU memory from which a vision transformer is proposed: locked, trained as well, and the base size.
_LOCKED, _TUNED, _BASE = 8 * 2**30, 12 * 2**30, 20 * 2**30
#: Side of a patch of DINOv2, and the crop that it was trained for.
_PATCH, _CROP = 14, 518
_LEAST_CROP = 32
_BASE_VIT = "vit_base_patch14_dinov2"


@dataclass(frozen=True)
class Recipe:
    """A preset, why it is that one, and what the sizes of a training have to know about it.

    method: with images without masks; encoder: if it is another than the preset's; largest_crop: on a GPU,
    pixels; multiple: of its side; dilated: whether its decoder has dilations.
    """

    preset: str
    reason: str
    method: str = "unimatch"
    encoder: str | None = None
    largest_crop: int = 320
    multiple: int = 32
    dilated: bool = True

    def __str__(self) -> str:
        """Preset and reason, for people."""
        return f"{self.preset}: {self.reason}"

    @property
    def least_crop(self) -> int:
        """Smallest crop: the side that encoders shrink to one cell, and more for patches to mean anything."""
        return max(self.multiple, _LEAST_CROP) // self.multiple * self.multiple


def choose_recipe(found: Survey, gpu_memory: int | None) -> Recipe:
    """Choose the recipe for what was found. gpu_memory: bytes of the GPU to train on; None without one."""
    if found.bands is not None and found.bands.needed:
        return _choose_for_bands(found.bands.channels)
    if gpu_memory is None:
        return Recipe("modern/small", "for a CPU; with a GPU of 8 GB and more: DINOv2")
    if gpu_memory < _LOCKED:
        return Recipe("modern/small", "for a GPU below 8 GB; above that: DINOv2")
    labeled = found.count_labeled() if found.labeled else 0
    tuned = labeled >= FEW and gpu_memory >= _TUNED
    base = gpu_memory >= _BASE
    return Recipe(
        "modern/tuned" if tuned else "modern/frozen",
        _explain(labeled, tuned=tuned),
        method="unimatch-v2",
        encoder=_BASE_VIT if base else None,
        largest_crop=_CROP,
        multiple=_PATCH,
        dilated=False,
    )


def _choose_for_bands(channels: int) -> Recipe:
    if channels == 1:
        return Recipe("modern/gray", "for gray images; no colour operations")
    return Recipe("modern/multispectral", "for bands beyond RGB; the encoder's first layer is adapted to them")


def _explain(labeled: int, *, tuned: bool) -> str:
    if tuned:
        return f"{labeled} labelled images are enough to train DINOv2 itself as well; modern/frozen leaves it as it is"
    few = f"{labeled} labelled images are few" if labeled < FEW else "for the memory of this GPU"
    return f"{few}: DINOv2 stays as it was trained, and the decoder learns; modern/tuned trains both"
