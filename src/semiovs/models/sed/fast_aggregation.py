"""The aggregator at inference: the same numbers (to about 3e-6) in a third of the time and of the memory.

What differs from `Aggregator.forward` (SED spec, section 9; each is exact but for the order of sums):

* a few concepts at a time in convolutions, and all concepts of a few pixels at a time in the attention, which alone
  mixes concepts: what lies between layers stays in the cache;
* the transposed convolution of a stage and the first one after it are one convolution of the smaller map;
* channels last throughout, where pointwise layers read the maps of convolutions as they lie;
* no pooling that pools nothing, no heads that nobody reads.

Both convolve the image's guidance once per image instead of once per concept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semiovs.models.sed.aggregator import Aggregator, correlate
from semiovs.models.sed.blocks import Enlargement
from semiovs.models.sed.rejection import survivors

#: Concepts at a time on a CPU, for maps of 192 x 192: few enough for its caches. Of smaller maps more fit.
CPU_CHUNK = 8
#: Of these again, as many at a time in convolutions: what they leave behind is handed on while it still is in the
#: cache.
CPU_FEW = 2
_MEASURED_PIXELS = 192 * 192
#: Bytes that the maps of the concepts in hand may take, and floats that one concept needs for each pixel of the result.
BUDGET = 2 * 2**30
_FLOATS = 160


def chunk_for(device: torch.device, pixels: int, *, budget: int = BUDGET, itemsize: int = 4) -> int:
    """Concepts at a time for results of `pixels` pixels on `device`, within `budget` bytes."""
    fitting = max(budget // (_FLOATS * itemsize * pixels), 1)
    return min(fitting, _for_cache(CPU_CHUNK, pixels)) if device.type == "cpu" else fitting


def _for_cache(number: int, pixels: int) -> int:
    """Maps of `pixels` pixels that are as large together as `number` maps of the size that was measured."""
    return max(number, number * _MEASURED_PIXELS // pixels)


def aggregate(
    model: Aggregator,
    features: Tensor,
    text: Tensor,
    guides: Sequence[Tensor],
    *,
    chunk: int | None = None,
    topk: int | None = None,
    budget: int = BUDGET,
) -> Tensor:
    """One image's features (C, h, w), text (T, P, C), its maps (c, 2h, 2w), (c, 4h, 4w), (c, 8h, 8w) -> probabilities
    (T, 8h, 8w).

    text: each vector of length 1, unlike in `Aggregator.forward`, since it serves many images; chunk: concepts at a
    time (None: as many as `chunk_for` says with `budget`); topk: concepts per pixel that survive each stage (None: all
    do, which is exact); a rejected concept has probability 0 everywhere.

    Raises:
        ValueError: shapes that do not belong together.
    """
    model.check(features[None], text, [guide[None] for guide in guides])
    height, width = guides[-1].shape[1:]
    chunk = chunk or chunk_for(features.device, height * width, budget=budget, itemsize=features.element_size())
    kept = torch.arange(len(text), device=text.device)
    correlation = correlate(features[None], text)
    x = _by_parts(model.conv1, correlation, chunk)
    for index, decoder in enumerate(model.decoders):
        if topk is not None and topk < len(x):
            alive = survivors(_by_parts(model.early_heads[index], x, chunk)[:, 0], topk)
            x = x[alive].contiguous(memory_format=torch.channels_last)
            correlation, kept = correlation[alive], kept[alive]
        enlargement = decoder.enlargement(model.decoder_guidance_projection[index](guides[index][None]))
        for some in torch.split(x, _few(x, chunk)):
            decoder.cnext.update_(some)
        pixels = _pixels(x)
        decoder.attention.update_(pixels, None if x.device.type == "cpu" else chunk * pixels.shape[1])
        x, correlation = _enlarge(model, index, x, correlation, enlargement, chunk)
    found = x[:, 0].float().sigmoid_()
    if len(kept) == len(text):
        return found
    return found.new_zeros(len(text), *found.shape[1:]).index_copy_(0, kept, found)


def _enlarge(
    model: Aggregator, index: int, x: Tensor, correlation: Tensor, by: Enlargement, chunk: int
) -> tuple[Tensor, Tensor]:
    """Twice the resolution. The last stage gives logits, and hands no correlation on."""
    decoder, project = model.decoders[index], model.decoder_corr_guidance_projection[index]
    last = index == len(model.decoders) - 1
    maps, guidance = _Filled(len(x)), _Filled(len(x))
    few = _few(x, chunk)
    for some, own in zip(torch.split(x, few), torch.split(correlation, few), strict=True):
        guide = project(own)
        y = decoder.enlarge(some, guide, by)
        maps.append(model.head(y) if last else y)
        if not last:
            guidance.append(guide)
    return maps.whole, correlation if last else guidance.whole


def _few(x: Tensor, chunk: int) -> int:
    """Concepts at a time in convolutions, of `chunk` that there is memory for."""
    return max(chunk * CPU_FEW // CPU_CHUNK, 1) if x.device.type == "cpu" else chunk


def _by_parts(layer: Callable[[Tensor], Tensor], x: Tensor, chunk: int) -> Tensor:
    """A layer on every concept (T, c, h, w) -> (T, c', h, w), a few at a time."""
    filled = _Filled(len(x))
    for part in torch.split(x, chunk):
        filled.append(layer(part.contiguous(memory_format=torch.channels_last)))
    return filled.whole


def _pixels(x: Tensor) -> Tensor:
    """Maps (T, C, h, w), channels last in memory -> (T, h·w, C), the same memory."""
    return x.permute(0, 2, 3, 1).view(len(x), -1, x.shape[1])


class _Filled:
    """Maps of `total` concepts, put in place as they come, so that no list of them is ever copied."""

    whole: Tensor

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0

    def append(self, part: Tensor) -> None:
        if not self.done:
            shape = (self.total, *part.shape[1:])
            self.whole = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=torch.channels_last)
        self.whole[self.done : self.done + len(part)] = part
        self.done += len(part)
