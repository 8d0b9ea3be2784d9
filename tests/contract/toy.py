"""Small models and batches for tests of methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semiovs.data import Batch, Labeled, OpenVocab, Unlabeled
from semiovs.methods import Method, build_method
from semiovs.models import build_segmenter
from semiovs.registry import METHODS

K = 4
ARMS: dict[str, dict[str, Any] | None] = {
    "alone": None,
    "ovs": {"weight": 1.0},
    "naive": {"weight": 1.0, "mode": "naive"},
}
#: Default segmenter of a method -> the segmenter that it is tested on.
SEGMENTERS = {"deeplabv3plus": "deeplabv3plus", "dpt": "deeplabv3plus", "deeplabv3plus-dual": "deeplabv3plus-dual"}
METHOD_NAMES = sorted(name for name, entry in METHODS.items() if entry.segmenter in SEGMENTERS)


def toy_method(
    name: str, ood: dict[str, Any] | None = None, *, norm: str = "batch", seed: int = 0, **options: Any
) -> Method:
    """A method around the tiny segmenter with weights of `seed`."""
    torch.manual_seed(seed)
    own = SEGMENTERS[METHODS[name].segmenter or ""]
    segmenter = build_segmenter(own, num_classes=K, encoder="tiny", channels=16, norm=norm)
    if own == "deeplabv3plus-dual":  # whose teacher, in evaluation mode, would be sure of nothing yet
        with torch.no_grad():
            segmenter.classifier.weight *= 8.0  # type: ignore[operator, union-attr]
    options.setdefault("conf_thresh", 0.3)
    return build_method(name, segmenter, num_classes=K, ood=ood, **options).train()


def toy_batch(
    method: Method, *, size: int = 33, count: int = 2, seed: int = 1, dtype: torch.dtype = torch.float32
) -> Batch:
    """A batch that brings what the method's views ask for; void labels and padding included."""
    g = torch.Generator().manual_seed(seed)
    views = method.views

    def image() -> Tensor:
        return torch.randn(count, 3, size, size, generator=g, dtype=torch.float64).to(dtype)

    def mask() -> Tensor:
        labels = torch.randint(0, K, (count, size, size), generator=g)
        labels[:, : size // 4] = 255
        return labels

    def valid() -> Tensor:
        inside = torch.ones(count, size, size, dtype=torch.bool)
        inside[:, :, size - 5 :] = False
        return inside

    def unlabeled(strong: int) -> Unlabeled:
        boxes = torch.tensor([[3, 4, 20, 25], [0, 0, 0, 0], [8, 0, 33, 12]])
        return Unlabeled(
            image(),
            tuple(image() for _ in range(strong)),
            valid(),
            tuple(boxes.roll(shift, 0)[torch.arange(count) % 3] for shift in range(strong)),
        )

    labeled = Labeled(image(), mask(), tuple(image() for _ in range(views.labeled)))
    u = m = o = None
    if views.unlabeled is not None:
        u = unlabeled(views.unlabeled)
        m = unlabeled(views.unlabeled) if views.mixing else None
    if views.ood is not None:
        label = mask()
        confidence = torch.rand(count, size, size, generator=g, dtype=torch.float64).to(dtype)
        o = OpenVocab(image(), tuple(image() for _ in range(views.ood)), label, confidence, label != 255)
    return Batch(labeled, u, m, o)
