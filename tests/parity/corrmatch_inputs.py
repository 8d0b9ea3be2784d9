"""CorrMatch's recorded numbers, and the recorded choices in place of random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semiovs.data import Batch, Labeled, Unlabeled
from semiovs.methods.draws import Draws
from semiovs.methods.propagation import pack_masks

GOLDENS = Path(__file__).parent / "goldens" / "corrmatch"


def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of a file."""
    with np.load(GOLDENS / f"{name}.npz") as arrays:
        return dict(arrays)


def expected() -> Any:
    """The recorded step's numbers."""
    return json.loads((GOLDENS / "step_expected.json").read_text("utf-8"))


def unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Booleans of packed bits."""
    return torch.from_numpy(np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape))


def eight_a_byte(maps: Tensor) -> Tensor:
    """(B, M, H, W) bool -> (B, H, W, M / 8) uint8, as `propagate` takes it."""
    return pack_masks(maps.permute(0, 2, 3, 1).contiguous())


def box_of(mask: np.ndarray) -> Tensor:
    """(B, H, W) 0 or 1, each a filled rectangle -> (B, 4) corners; (0, 0, 0, 0) where there is none."""
    boxes = []
    for m in mask.astype(bool):
        rows, columns = np.flatnonzero(m.any(1)), np.flatnonzero(m.any(0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0]
        assert m.sum() == (box[2] - box[0]) * (box[3] - box[1])
        boxes.append([int(v) for v in box])
    return torch.tensor(boxes)


def step_batch() -> Batch:
    """The recorded batch in float64."""
    z = golden("step_inputs")

    def image(name: str) -> Tensor:
        return torch.from_numpy(z[name].astype(np.float64))

    box = box_of(z["cutmix_box1"])
    valid, valid_mix = (torch.from_numpy(z[name] != 255) for name in ("ignore_mask", "ignore_mask_mix"))
    return Batch(
        Labeled(image("img_x"), torch.from_numpy(z["mask_x"].astype(np.int64))),
        Unlabeled(image("img_u_w"), (image("img_u_s1"),), valid, (box,)),
        Unlabeled(image("img_u_w_mix"), (image("img_u_s1_mix"),), valid_mix, (torch.zeros_like(box),)),
    )


class RecordedDraws(Draws):
    """A channel is kept where image + channel is even; the correlated map is not perturbed; rows (7 i + 3) mod (N -
    1).
    """

    total = 0

    def channel_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        if p != 0.5:
            return features

        def keep(f: Tensor) -> Tensor:
            return ((torch.arange(f.shape[0])[:, None] + torch.arange(f.shape[1])) % 2 == 0).to(f)[:, :, None, None]

        return tuple(f * 2 * keep(f) for f in features)

    def positions(self, count: int, total: int, device: torch.device) -> Tensor:
        self.total = total
        return (7 * torch.arange(count, device=device) + 3) % total
