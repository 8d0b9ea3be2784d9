"""Small models and batches on which checks of methods take seconds on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from semiovs.data import Batch, Labeled, OpenVocab, Unlabeled
from semiovs.errors import UsageError
from semiovs.methods import Method, OodStream, build_method
from semiovs.models import Segmenter, build_segmenter
from semiovs.registry import METHODS, Entry, lookup
from semiovs.registry.signature import read_options
from semiovs.vocab import Vocabulary

#: Classes of toy batches and segmenters.
K = 4
#: A method alone, with the OOD stream of SemiOVS, and with its naive twin.
ARMS: dict[str, dict[str, Any] | None] = {
    "alone": None,
    "ovs": {"weight": 1.0},
    "naive": {"weight": 1.0, "mode": "naive"},
}
#: Default segmenter of a method -> the one that it is checked on.
SEGMENTERS = {
    **dict.fromkeys(("deeplabv3plus", "dpt", "segformer"), "deeplabv3plus"),
    **{kind: kind for kind in ("deeplabv3plus-dual", "semivl")},
}
#: Segmenter of a method -> options of a small one.
SMALL: dict[str, dict[str, Any]] = {
    "deeplabv3plus": {"encoder": "tiny", "channels": 16},
    "deeplabv3plus-dual": {"encoder": "tiny", "channels": 16},
    "semivl": {
        "encoder": "tiny",
        "image_size": 32,
        "trained": "all",
        "text": "words",
        "taps": [0, 1],
        "channels": 16,
        "up_channels": [16, 16],
        "skip_channels": [8, 8],
        "layers": 1,
        "pool": 2,
        "dilations": [1],
    },
}

#: Builds a small segmenter with K classes; it is given the kind of normalisation layers, "batch" or "group".
MakeSegmenter = Callable[[str], Segmenter]


def toy_segmenter(seed: int = 0, kind: str = "deeplabv3plus", *, norm: str = "batch") -> Segmenter:
    """A small segmenter of a kind with weights of `seed`, which knows its classes."""
    return _build_seeded(lambda: small_segmenter(kind, norm), seed)


def small_segmenter(kind: str, norm: str = "batch") -> Segmenter:
    """A small segmenter of a kind; its weights come from torch's generator."""
    small = SMALL[kind] | ({"norm": norm} if kind.startswith("deeplabv3plus") else {})
    return build_segmenter(kind, num_classes=K, **small)


def _build_seeded(make: Callable[[], Segmenter], seed: int) -> Segmenter:
    torch.manual_seed(seed)
    segmenter = make()
    segmenter.prompt(Vocabulary(tuple("abcd"), (("a", "x"), ("b",), ("c", "y", "z"), ("d",))))
    return segmenter


@dataclass(frozen=True)
class ToyMethod:
    """Builds a method around a small segmenter, as often as checks need one.

    method: a name of the registry (``semiovs list methods``), or a class; segmenter: builds a small segmenter with
    `K` classes, None: by the method's default segmenter; options: of the method.

    Raises:
        UsageError: no such method; no small segmenter of the kind that it needs is known.
    """

    method: str | type[Method]
    segmenter: MakeSegmenter | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.segmenter is None and self.kind not in SEGMENTERS:
            raise UsageError(
                f"check_method: no small '{self.kind}' is known for method '{self.name}'; pass segmenter=, a function "
                f"that builds a small one for {K} classes, given 'batch' or 'group'"
            )

    def __call__(
        self, ood: Mapping[str, Any] | None = None, *, norm: str = "batch", seed: int = 0, **options: Any
    ) -> Method:
        """Build it in training mode, with weights of `seed`, and a threshold of 0.3 where none is given."""
        given = {**({"conf_thresh": 0.3} if "conf_thresh" in self.accepted else {}), **self.options, **options}
        segmenter = self._segmenter(seed, norm)
        if isinstance(self.method, str):
            return build_method(self.method, segmenter, num_classes=K, ood=ood, **given).train()
        return self.method(
            segmenter, num_classes=K, ood=None if ood is None else OodStream.from_options(ood), **given
        ).train()

    @property
    def name(self) -> str:
        """Of the method, for messages."""
        return self.method if isinstance(self.method, str) else self.method.__name__

    @property
    def accepted(self) -> Mapping[str, Any]:
        """Options of the method."""
        if isinstance(self.method, str):
            return self._row(self.method).options
        return read_options(f"{self.method.__module__}:{self.method.__qualname__}")

    @property
    def kind(self) -> str:
        """The method's default segmenter."""
        if isinstance(self.method, str):
            return self._row(self.method).segmenter or ""
        return str(getattr(self.method, "default_segmenter", "deeplabv3plus"))

    def _row(self, name: str) -> Entry:
        return lookup(METHODS, name, kind="method")

    def _segmenter(self, seed: int, norm: str) -> Segmenter:
        make = self.segmenter
        if make is not None:
            return _build_seeded(lambda: make(norm), seed)
        return toy_segmenter(seed, SEGMENTERS[self.kind], norm=norm)


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
