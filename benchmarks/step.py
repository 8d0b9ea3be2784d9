"""Training step (losses, gradients, optimiser) of UniMatch and SemiOVS on one core, against the plain version; equal
losses.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, Size, alternately, row
from benchmarks.plain_step import PlainUniMatch
from semiovs.data import Batch, Labeled, OpenVocab, Unlabeled
from semiovs.methods import Learn, Method, Progress, build_method
from semiovs.models import Segmenter, build_segmenter

_CLASSES = 21
#: Low enough for an untrained model to be sure of something.
_THRESHOLD = 0.07


def rows(size: Size) -> list[Row]:
    settings = [("small", size.of(64, 33), size.of(8, 2)), ("resnet50s", 65, 2)]
    out = []
    for encoder, side, count in settings[: size.of(2, 1)]:
        for ood in (False, True):
            out += _rows(encoder, batch(side, count), size, ood=ood)
    return out


def _rows(encoder: str, given: Batch, size: Size, *, ood: bool) -> list[Row]:
    torch.manual_seed(0)
    model = build_segmenter("deeplabv3plus", num_classes=_CLASSES, encoder=encoder)
    plain = PlainUniMatch(copy.deepcopy(model), _THRESHOLD, ood=ood).train()
    ours = _ours(model, ood=ood)
    _check(plain, ours, given)
    times = alternately(
        size,
        plain=_step(plain, lambda: plain(given)),
        ours=_step(ours, lambda: loss(ours, given, _learn)),
        channels_last=_channels_last(model, given, ood=ood),
        bf16=_channels_last(model, given, ood=ood, bf16=True),
    )
    what = (
        f"{'UniMatch + OOD' if ood else 'UniMatch'} step, {encoder} "
        f"{given.labeled.image.shape[-1]}²×{len(given.labeled.image)}"
    )
    kinds = {"ours": "fp32", "channels_last": "fp32 channels_last", "bf16": "bf16 channels_last"}
    return [row(f"{what}, {kind}", times, key, "plain", "ms") for key, kind in kinds.items()]


def _ours(model: Segmenter, *, ood: bool) -> Method:
    return build_method(
        "unimatch",
        copy.deepcopy(model),
        num_classes=_CLASSES,
        ood={"weight": 1.0} if ood else None,
        conf_thresh=_THRESHOLD,
    ).train()


def ours(model: Segmenter, given: Batch, *, ood: bool) -> Callable[[], None]:
    """A step as the training loop takes it, in fp32."""
    return _channels_last(model, given, ood=ood)


def _channels_last(model: Segmenter, given: Batch, *, ood: bool, bf16: bool = False) -> Callable[[], None]:
    """As the training loop does it by default."""
    method = _ours(model, ood=ood).to(memory_format=torch.channels_last)
    images = given.map(lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t)

    def compute() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return loss(method, images, _learn)

    return _step(method, compute)


def loss(method: Method, given: Batch, learn: Learn | None = None) -> Tensor:
    """The method's loss; learn: differentiates each gradient pass but the last, as the training loop does it."""
    step = method(given, Progress(0, 100), learn)
    total: Tensor = step.terms.total()
    return total


def _learn(loss: Tensor) -> None:
    with torch.autocast("cpu", enabled=False):
        loss.backward()  # type: ignore[no-untyped-call]


def _step(module: nn.Module, compute: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def run() -> None:
        torch.manual_seed(0)
        optimizer.zero_grad()
        compute().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def _check(plain: PlainUniMatch, ours: Method, given: Batch) -> None:
    losses = []
    for compute in (lambda: plain(given), lambda: loss(ours, given)):
        torch.manual_seed(0)
        losses.append(float(compute().detach()))
    first, second = losses
    assert abs(first - second) <= 1e-5 * abs(first), f"the plain step has loss {first}, ours {second}"
    assert all(value > 0 for value in plain.seen.values()), "a term is zero, so it was not compared"
    plain.load_state_dict({f"model.{key}": value for key, value in ours.student.state_dict().items()})


def batch(side: int, count: int) -> Batch:
    """Images of noise, with padding and boxes as the loader makes them."""
    generator = torch.Generator().manual_seed(1)

    def image() -> Tensor:
        return torch.randn(count, 3, side, side, generator=generator)

    def ids() -> Tensor:
        return torch.randint(0, _CLASSES, (count, side, side), generator=generator)

    valid = torch.ones(count, side, side, dtype=torch.bool)
    valid[:, -side // 6 :] = False
    box = torch.tensor([[side // 5, side // 4, side // 2, 3 * side // 4]]).repeat(count, 1)

    def bare() -> Unlabeled:
        return Unlabeled(image(), (image(), image()), valid, (box, box.flip(0) // 2))

    confidence = torch.ones(count, side, side)
    ood = OpenVocab(image(), (image(), image()), ids(), confidence, valid)
    return Batch(Labeled(image(), ids()), bare(), bare(), ood)
