"""AllSpark's semantic memory: for each class the latest feature channels of unlabelled images that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from semiovs.errors import UsageError

#: The published memory starts as noise; this is its seed, the same on every rank.
_NOISE = 0


class Memory(nn.Module):
    """A ring of C channels a class, each over the N tokens of the last feature map (Wang et al. 2024, section 3.3).

    Its size is K · C · N numbers; N is that of the first batch, or of the checkpoint, and stays: 12 MB for 21 classes,
    512 channels and crops of 513 pixels (17 x 17 tokens). All ranks' channels go into each rank's memory. noise: an
    empty memory is normal noise, as published, instead of nothing.
    """

    channels: Tensor
    pointer: Tensor

    def __init__(self, classes: int, channels: int, *, noise: bool = False) -> None:
        super().__init__()
        self.noise = noise
        self.register_buffer("channels", torch.zeros(classes, channels, 0))
        self.register_buffer("pointer", torch.zeros(classes, dtype=torch.int64))

    def sources(self) -> tuple[Tensor, Tensor]:
        """The memory as K sources (K, N, C) for `ChannelAttention.cross`, and which hold anything (K,) bool."""
        return self.channels.transpose(1, 2), self.channels.flatten(1).any(1)

    @torch.no_grad()
    def remember(self, tokens: Tensor, scores: Tensor, size: Sequence[int]) -> Tensor:
        """Put the channels of unlabelled images where they belong, and return their classes (B, C) of this rank.

        tokens: (B, N, C) with N = h · w of `size`; scores: (B, K, H, W), what the teacher said of the images.

        Raises:
            UsageError: a feature map of another size than the memory has.
        """
        self._fit(size)
        found = classes_of(tokens, scores, size)
        channels = tokens.transpose(1, 2).to(self.channels.dtype).contiguous()
        self.push(*gather_ranks(channels, found))
        return found

    @torch.no_grad()
    def push(self, channels: Tensor, classes: Tensor) -> None:
        """Write channels (B, C, N) of `classes` (B, C), image by image in their order, each to the ring of its class.

        Without host synchronisation: a place goes to the last channel that asks for it, and empty-handed places keep
        theirs.
        """
        kinds, length, tokens = self.channels.shape
        given, owner = channels.reshape(-1, tokens), classes.reshape(-1)
        member = F.one_hot(owner, kinds)
        turn = member.cumsum(0).gather(1, owner[:, None])[:, 0] - 1
        place = owner * length + (self.pointer[owner] + turn) % length
        order = torch.arange(len(owner), device=owner.device)
        writer = torch.full((kinds * length,), -1, dtype=torch.int64, device=owner.device)
        writer = writer.scatter_reduce(0, place, order, "amax").view(kinds, length, 1)
        self.channels.copy_(torch.where(writer < 0, self.channels, given[writer.squeeze(2).clamp(min=0)]))
        self.pointer.copy_((self.pointer + member.sum(0)) % length)

    def _fit(self, size: Sequence[int]) -> None:
        kinds, length, tokens = self.channels.shape
        if tokens == 0:
            empty = self.channels.new_zeros(kinds, length, size[0] * size[1])
            generator = torch.Generator().manual_seed(_NOISE)
            self.channels = empty if not self.noise else torch.randn(empty.shape, generator=generator).to(empty)
        elif tokens != size[0] * size[1]:
            raise UsageError(
                f"allspark: its memory holds feature maps of {tokens} places, but this crop gives "
                f"{size[1]} x {size[0]}; keep the data.crop_size that the run was started with, or start a new run"
            )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """An empty memory takes its size from the file."""
        given = state_dict.get(f"{prefix}channels")
        if given is not None and not self.channels.numel() and given.shape[:-1] == self.channels.shape[:-1]:
            self.channels = self.channels.new_zeros(given.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


def classes_of(tokens: Tensor, scores: Tensor, size: Sequence[int]) -> Tensor:
    """The class that each channel shows: the one whose map it resembles most (AllSpark spec, section 2).

    tokens: (B, N, C); scores: (B, K, H, W). Both are vectors over the tokens; the largest cosine wins. -> (B, C) int64.
    """
    maps = F.interpolate(scores.float(), tuple(size), mode="bilinear", align_corners=False).flatten(2)
    cosine = F.normalize(maps, dim=2) @ F.normalize(tokens.float(), dim=1)  # (B, K, C)
    return cosine.argmax(1)


def gather_ranks(channels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The ranks' tensors of equal shapes, one after the other, on every rank."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return channels, classes

    def all_of(own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        return torch.cat(parts)

    return all_of(channels), all_of(classes)
