"""Image towers of transformers' image-text models read densely: one vector a patch that is comparable with texts.

A tower pools its patches into one vector by the last of its attentions. Each patch is read as if it were the only token
there, which leaves its *value* of that attention (MaskCLIP). Where all tokens are alike, each patch therefore has the
pooled vector. The towers are transformers' own, unmodified; they resize their tables of positions to the image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import WeightsError

#: Patches that are read at once, each a sequence of its own: the kernels of attention take no more than 65,535.
_ALONE = 8192


class PatchTower(nn.Module, ABC):
    """Image (B, 3, H, W), its sides multiples of `patch` -> (B, C, H / patch, W / patch) of length 1 over C.

    model: with a `vision_model`, whose patches are square.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision = model.vision_model
        self.patch = int(model.config.vision_config.patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """The vectors of the patches as a map."""
        grid = image.shape[-2] // self.patch, image.shape[-1] // self.patch
        vectors = self.read(image).transpose(1, 2).reshape(image.shape[0], -1, *grid)
        return F.normalize(vectors, dim=1)

    @abstractmethod
    def read(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, h·w, C), patches row by row."""


class SiglipTower(PatchTower):
    """SigLIP and SigLIP 2 of fixed size: all blocks, then the values of the attention that pools."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        if not hasattr(self.vision, "head"):
            raise WeightsError(
                f"{model.name_or_path}: its image tower has no pooling head, by which patches become comparable with "
                "texts; take the model as it was published"
            )

    def read(self, image: Tensor) -> Tensor:
        """The head's output for each patch."""
        return read_alone(self.vision.head, self.encode(image))

    def encode(self, image: Tensor) -> Tensor:
        """(B, h·w, D) as the head gets them."""
        encoded: Tensor = self.vision(image, interpolate_pos_encoding=True).last_hidden_state
        return encoded


class NaflexTower(SiglipTower):
    """SigLIP 2 NaFlex, which is given patches and the shape of their grid."""

    def encode(self, image: Tensor) -> Tensor:
        """(B, h·w, D) as the head gets them."""
        batch, side = image.shape[0], self.patch
        height, width = image.shape[-2] // side, image.shape[-1] // side
        cut = image.reshape(batch, 3, height, side, width, side).permute(0, 2, 4, 3, 5, 1)
        patches = cut.reshape(batch, height * width, side * side * 3)
        real = torch.ones(patches.shape[:2], dtype=torch.int32, device=image.device)
        shapes = torch.tensor([(height, width)] * batch, device=image.device)
        encoded: Tensor = self.vision(patches, real, shapes).last_hidden_state
        return encoded


class ClipTower(PatchTower):
    """CLIP's ViT, which MetaCLIP 2 keeps: the last block without its attention, projected to the texts' space."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.projection = model.visual_projection

    def read(self, image: Tensor) -> Tensor:
        """The last block's output for each patch: u = x + Out(V(LN1 x)), then u + MLP(LN2 u)."""
        x = self.vision.pre_layrnorm(self.vision.embeddings(image, interpolate_pos_encoding=True))
        *blocks, last = self.vision.encoder.layers
        for block in blocks:
            x = block(x, None)
        patches = read_alone(lambda part: last(part, None), x[:, 1:])
        found: Tensor = self.projection(self.vision.post_layernorm(patches))
        return found


class TipsTower(PatchTower):
    """TIPSv2's ViT: the last block without its attention, as its authors measure it without training."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.first = 1 + int(model.config.vision_config.num_register_tokens)

    def read(self, image: Tensor) -> Tensor:
        """The last block's output for each patch: u = x + γ1 Out(V(LN1 x)), then u + γ2 MLP(LN2 u)."""
        x = self.vision.embeddings(image)
        *blocks, last = self.vision.encoder.layer
        for block in blocks:
            x = block(x)
        found: Tensor = self.vision.layernorm(read_alone(last, x[:, self.first :]))
        return found


def read_alone(part: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """What `part` of a network, (N, 1, D) -> (N, …, C), makes of each of (B, N, D) tokens alone: (B, N, C)."""
    alone = torch.split(tokens.flatten(0, 1)[:, None], _ALONE)
    return torch.cat([part(some) for some in alone]).reshape(*tokens.shape[:2], -1)
