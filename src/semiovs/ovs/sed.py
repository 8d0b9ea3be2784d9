"""Teacher `sed`: SED, with the preprocessing of its published predictor (SED spec, section 1)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary

from semiovs.errors import UsageError, did_you_mean
from semiovs.models.device import pick_device
from semiovs.models.sed.trained import PUBLISHED_EDGES, TrainedSed, open_trained
from semiovs.models.tiling import nearest_multiple
from semiovs.ovs.mapped import require_images
from semiovs.ovs.prompted import PromptedModel
from semiovs.vocab.vocabulary import Vocabulary

PRECISIONS = ("fp32", "tf32", "bf16")
AUTO = "auto"


class SedTeacher(PromptedModel):
    """Cost aggregation between the pixels of a CLIP tower and the concepts (Xie et al., CVPR 2024).

    weights: a published file, a model or run of `semiovs ovs train`; None: the published file in `SEMIOVS_WEIGHTS_DIR`.
    variant: large or base, None: whatever the file is. precision: fp32 is exact; tf32 (GPU) and bf16 change a few
    labels; auto: tf32 on an NVIDIA GPU, else fp32. topk: early rejection: a concept that is in no pixel's `topk` best
    is not refined further and scores 0; None: exact. resolution: side of the square input, None: that of the weights.
    memory_gb: memory for concepts, which determines how many are computed together, without effect on results.

    Raises:
        UsageError: a value that cannot be taken; WeightsError: weights that are missing or of something else.
    """

    device: torch.device

    def __init__(
        self,
        weights: str | Path | None = None,
        variant: str | None = None,
        precision: str = AUTO,
        topk: int | None = None,
        resolution: int | None = None,
        memory_gb: float = 2.0,
        device: str = "auto",
    ) -> None:
        self._configure(precision, topk, resolution, memory_gb, device)
        exactly: dict[str, Any] = {"precision": "fp32", "memory_gb": memory_gb, "device": device}
        self._reopen = partial(SedTeacher, weights, variant, resolution=resolution, **exactly)
        self._open(open_trained(weights, variant=variant))

    @classmethod
    def of(
        cls,
        source: TrainedSed,
        *,
        precision: str = AUTO,
        topk: int | None = None,
        memory_gb: float = 2.0,
        device: str = "auto",
    ) -> Self:
        """Teacher around an existing network."""
        teacher = cls.__new__(cls)
        teacher._configure(precision, topk, None, memory_gb, device)
        kept = copy.deepcopy(source) if precision == "bf16" else source  # casting is in place
        teacher._reopen = partial(SedTeacher.of, kept, precision="fp32", memory_gb=memory_gb, device=device)
        teacher._open(source)
        return teacher

    def _configure(
        self, precision: str, topk: int | None, resolution: int | None, memory_gb: float, device: str
    ) -> None:
        known = (*PRECISIONS, AUTO)
        if precision not in known:
            raise UsageError(f"teacher 'sed': precision '{precision}' is not known{did_you_mean(precision, known)}")
        if topk is not None and topk < 1:
            raise UsageError(f"teacher 'sed': topk {topk}: at least one concept a pixel must survive")
        if not 0.01 <= memory_gb <= 1000:
            raise UsageError(f"teacher 'sed': memory_gb {memory_gb} is not between 0.01 and 1000")
        self.device = pick_device(device)
        if precision == AUTO:
            precision = "tf32" if self.device.type == "cuda" and torch.version.cuda else "fp32"
        if precision == "tf32" and self.device.type != "cuda":
            raise UsageError("teacher 'sed': precision tf32 is of NVIDIA GPUs; use fp32 or bf16 here")
        self.precision, self.topk, self.resolution = precision, topk, resolution
        self._budget = int(memory_gb * 2**30)

    def _open(self, source: TrainedSed) -> None:
        self.source = source
        stride = source.network.backbone.stride
        if self.resolution is not None and (self.resolution < stride or self.resolution % stride):
            raise UsageError(f"teacher 'sed': resolution {self.resolution} is not a multiple of {stride}")
        self._size = (self.resolution, self.resolution) if self.resolution else source.size
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.network = source.network.to(self.device, kind).to(memory_format=torch.channels_last).eval()
        look = self.network.normalization
        self._mean, self._std = (
            255 * torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (look.mean, look.std)
        )
        self._asked: tuple[str, Tensor] | None = None
        self._shrunk: MutableMapping[Tensor, Tensor] = WeakIdKeyDictionary()

    def describe(self) -> dict[str, Any]:
        """SHA-256 of the weights, and the options that change answers."""
        own = {"precision": self.precision, "topk": self.topk, "resolution": list(self._size) if self._size else None}
        return {**self.source.facts, **own}

    def exact(self) -> SedTeacher | None:
        """Teacher of the same weights in fp32, with every concept refined at every pixel."""
        return None if self.precision == "fp32" and self.topk is None else self._reopen()

    @torch.inference_mode()
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """One map (T, h, w) in [0, 1] an image, at a quarter of the network's resolution (192×192 for 768×768 at stride
        32).

        The sigmoid comes before any resize. The maps cover the whole image: the network's input has no padding, so
        nothing is cut off (the published predictor cuts maps of images with sides of more than 13 to 1; SED spec,
        section 8, bug 8).
        """
        require_images(images)
        text = self._embed_vocabulary(vocabulary)
        prepared = [self.prepare(image) for image in images]
        alike: dict[torch.Size, list[int]] = {}
        for index, image in enumerate(prepared):
            alike.setdefault(image.shape, []).append(index)
        found: dict[int, Tensor] = {}
        with _set_arithmetic(self.precision, self.device):
            for members in alike.values():
                batch = torch.cat([prepared[index] for index in members])
                answers = self.network.probabilities(batch, text, topk=self.topk, budget=self._budget)
                found |= zip(members, answers, strict=True)
        return [found[index] for index in range(len(images))]

    def look_ahead(self, image: Tensor) -> int:
        """Resize the image as Pillow does, which takes longer than a GPU needs for all the rest of it."""
        found = self._resize(image)
        if self.device.type == "cuda":
            found = found.pin_memory()
        if found is image:
            return 0
        self._shrunk[image] = found
        return found.nbytes

    def prepare(self, image: Tensor) -> Tensor:
        """Image, uint8 RGB (3, H, W) -> (1, 3, *size), normalised, at the network's resolution."""
        size, found = self._size, self._shrunk.get(image)
        pixels = self._resize(image) if found is None else found
        x = (pixels.to(self.device, non_blocking=True)[None].float() - self._mean) / self._std
        stride = self.network.backbone.stride
        height, width = size or (nearest_multiple(x.shape[2], stride), nearest_multiple(x.shape[3], stride))
        x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
        dtype = next(self.network.parameters()).dtype
        return x.to(dtype, memory_format=torch.channels_last)

    def _resize(self, image: Tensor) -> Tensor:
        """The image with its edges as the published predictor has them."""
        edges, (height, width) = self.source.edges, image.shape[1:]
        if edges is None and self._size is None and max(height, width) > PUBLISHED_EDGES[1]:
            edges = (min(height, width), PUBLISHED_EDGES[1])  # a network that sees images as they are needs them all
        return image if edges is None else _resize(image, fit_shortest_edge(height, width, *edges))

    def _embed_vocabulary(self, vocabulary: Vocabulary) -> Tensor:
        if self._asked is None or self._asked[0] != vocabulary.hash:
            self._asked = (vocabulary.hash, self.source.features(vocabulary).float().to(self.device))
        return self._asked[1]


def fit_shortest_edge(height: int, width: int, short: int, longest: int) -> tuple[int, int]:
    """Resized (height, width): short side `short`, unless the long one then exceeds `longest` (SED spec, section 1)."""
    scale = short / min(height, width)
    rows, columns = (float(short), scale * width) if height < width else (scale * height, float(short))
    if max(rows, columns) > longest:
        scale = longest / max(rows, columns)
        rows, columns = rows * scale, columns * scale
    return max(int(rows + 0.5), 1), max(int(columns + 0.5), 1)


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (3, H, W), resized by Pillow, bilinear with antialiasing."""
    if image.shape[1:] == size:
        return image
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    pixels = np.array(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1)


@contextmanager
def _set_arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Context that computes fp32 matrix products and convolutions in fp32 or TF32; restores the setting afterwards."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
