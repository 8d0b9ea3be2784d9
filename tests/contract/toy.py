"""Small models and batches for tests of methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semiovs import registry
from semiovs.data import Batch, Labeled, OpenVocab, Unlabeled
from semiovs.methods import Method, build_method
from semiovs.models import Segmenter, build_segmenter
from semiovs.registry import METHODS
from semiovs.vocab import Vocabulary

K = 4
ARMS: dict[str, dict[str, Any] | None] = {
    "alone": None,
    "ovs": {"weight": 1.0},
    "naive": {"weight": 1.0, "mode": "naive"},
}
#: Default segmenter of a method -> the one that it is tested on.
SEGMENTERS = {
    **dict.fromkeys(("deeplabv3plus", "dpt", "segformer"), "deeplabv3plus"),
    **{kind: kind for kind in ("deeplabv3plus-dual", "semivl")},
}
METHOD_NAMES = sorted(name for name, entry in METHODS.items() if entry.segmenter in SEGMENTERS)
#: Segmenter of a method -> how to build a small one.
SMALL: dict[str, dict[str, Any]] = {
    "deeplabv3plus": {"encoder": "tiny", "channels": 16},
    "deeplabv3plus-dual": {"encoder": "tiny", "channels": 16},
    "semivl": {
        "encoder": "tiny", "image_size": 32, "trained": "all", "text": "words", "taps": [0, 1], "channels": 16,
        "up_channels": [16, 16], "skip_channels": [8, 8], "layers": 1, "pool": 2, "dilations": [1],
    },
}  # fmt: skip


def toy_segmenter(seed: int = 0, kind: str = "deeplabv3plus", *, norm: str = "batch") -> Segmenter:
    """A small segmenter of a kind with weights of `seed`, which knows its classes."""
    torch.manual_seed(seed)
    small = SMALL[kind] | ({"norm": norm} if kind.startswith("deeplabv3plus") else {})
    segmenter = build_segmenter(kind, num_classes=K, **small)
    segmenter.prompt(Vocabulary(tuple("abcd"), (("a", "x"), ("b",), ("c", "y", "z"), ("d",))))
    return segmenter


def toy_method(
    name: str, ood: dict[str, Any] | None = None, *, norm: str = "batch", seed: int = 0, **options: Any
) -> Method:
    """A method around a small segmenter with weights of `seed`; PrevMatch remembers two others, who are sure of themselves."""
    kind = SEGMENTERS[registry.METHODS[name].segmenter or ""]
    former = [toy_segmenter(seed + i, kind, norm=norm) for i in (1, 2)] if name == "prevmatch" else []
    segmenter = toy_segmenter(seed, kind, norm=norm)
    if kind == "deeplabv3plus-dual":  # whose teacher, in evaluation mode, would be sure of nothing yet
        with torch.no_grad():
            segmenter.classifier.weight *= 8.0  # type: ignore[operator, union-attr]
    options.setdefault("conf_thresh", 0.3)
    if name == "prevmatch":
        options.setdefault("prev_conf_thresh", 0.3)
    method = build_method(name, segmenter, num_classes=K, ood=ood, **options).train()
    for model in former:
        model.classifier.weight.data *= 64  # type: ignore[operator, union-attr]
        method.previous.remember(model)  # type: ignore[operator, union-attr]
    return method


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
