"""SemiVL's guide: frozen CLIP that classifies each patch (SemiVL spec, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.models.clip_vit import DenseClipViT
from semiovs.models.segmenter import Normalization
from semiovs.models.semivl.tower import renormalize
from semiovs.models.text.encoder import fingerprint

#: What similarities are multiplied with before the softmax.
SCALE = 100.0


class Guide(nn.Module):
    """Image (B, 3, H, W) -> logits (B, K, H, W): 100 · max over a class's concepts of the cosine, resized.

    The tower is frozen, and no child of this module: optimisers, DDP and `parameters()` do not see it, but `.to()`
    does. The state holds a hash of its weights if they can be had again from where they came, else the weights and the
    concepts.

    tower: dense image tower; known: whether it can be had again; given, wanted: how images come normalised, and how the
    tower wants them (None: as they come, which is what SemiVL does on all data sets but Cityscapes).
    """

    tower: DenseClipViT
    concepts: Tensor | None

    def __init__(self, tower: DenseClipViT, *, known: bool, given: Normalization, wanted: Normalization | None) -> None:
        super().__init__()
        self.__dict__["tower"] = tower.requires_grad_(False).eval()
        self.known, self.given, self.wanted = known, given, wanted
        self._hash = _hash(tower) if known else 0
        self.register_buffer("concepts", None, persistent=False)
        self.counts: tuple[int, ...] = ()

    @property
    def told(self) -> bool:
        """Whether its concepts are set."""
        return self.concepts is not None

    def tell(self, concepts: Tensor, counts: tuple[int, ...]) -> None:
        """Set its concepts (T, C); `counts`: how many belong to each class, in order."""
        self.concepts, self.counts = concepts.detach(), counts

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Logits, in float32 whatever autocast says: labels near the threshold depend on the last digits."""
        assert self.concepts is not None
        with torch.autocast(image.device.type, enabled=False):
            seen = image if self.wanted is None else renormalize(image, self.given, self.wanted)
            (dense,) = self.tower(seen)
            similarity = torch.einsum("bchw,tc->bthw", dense, self.concepts.to(dense))
            best = torch.stack([own.amax(dim=1) for own in torch.split(similarity, list(self.counts), dim=1)], dim=1)
            return SCALE * F.interpolate(best, size=image.shape[-2:], mode="bilinear", align_corners=False)

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Load other weights into the tower; they are part of the state from now on."""
        self.tower.tower.load_state_dict(state)
        self.known = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.tower._apply(fn)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: ARG002
        if self.known:
            destination[f"{prefix}hash"] = torch.tensor(self._hash)
        else:
            destination |= {f"{prefix}tower.{k}": v.detach() for k, v in self.tower.tower.state_dict().items()}
            if self.concepts is not None:
                destination |= {f"{prefix}concepts": self.concepts, f"{prefix}counts": torch.tensor(self.counts)}

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        _local: Any,
        _strict: bool,
        missing_keys: list[str],
        _unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        inner = f"{prefix}tower."
        whole = {key.removeprefix(inner): value for key, value in state_dict.items() if key.startswith(inner)}
        recorded = state_dict.get(f"{prefix}hash")
        if whole:
            try:
                self.take(whole)
            except RuntimeError:
                error_msgs.append("the guide's tower has another shape")
            if (concepts := state_dict.get(f"{prefix}concepts")) is not None:
                self.tell(concepts.to(next(self.tower.parameters())), tuple(state_dict[f"{prefix}counts"].tolist()))
        elif recorded is None:
            missing_keys.append(f"{prefix}hash")
        elif not self.known or int(recorded) != self._hash:
            error_msgs.append("the frozen guide was another CLIP (model.pretrained) than the one that is here now")


def _hash(tower: DenseClipViT) -> int:
    """Of weights and names, as a number that fits int64."""
    return int(fingerprint(tower.tower.state_dict()), 16) - 2**63
