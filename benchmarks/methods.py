"""A step of each method, alone and with OOD: time and peak memory, against its own formula inlined (losses, gradients,
optimiser).

A method comes in by a row of `CASES`.
"""

from __future__ import annotations

import copy
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks import inlined
from benchmarks.measure import Row, Size, alternately, counted, row
from benchmarks.step import batch
from semiovs.data import Batch
from semiovs.methods import Method, Progress, build_method
from semiovs.models import build_segmenter
from semiovs.peak_memory import find_peak_memory
from semiovs.vocab import Vocabulary

_CLASSES = 21
#: A threshold that an untrained model passes: of 21 classes, the best has at least 1/21 = 0.0476 of the probability.
_LITTLE = 0.048
PROGRESS = Progress(step=50, total_steps=100, epoch=5, total_epochs=10)

Formula = Callable[[Method, Batch, Progress], Tensor]


@dataclass(frozen=True)
class Model:
    """A segmenter, and the images of a step: side, and how many of each stream."""

    name: str
    segmenter: str
    options: Mapping[str, Any]
    side: int
    count: int

    def __str__(self) -> str:
        return f"{self.name} {self.side}²×{self.count}"


#: Device -> models; the smallest first (the only one of a tiny measurement).
Models = dict[str, tuple[Model, Model]]


def _two_sizes(small: Model, large: Model, side: int, count: int) -> Models:
    """The same on a GPU, but for the side and number of the large model's images."""
    return {"cpu": (small, large), "cuda": (small, replace(large, side=side, count=count))}


def _deeplab(name: str) -> Models:
    small = Model("small", name, {"encoder": "small"}, 64, 8)
    return _two_sizes(small, Model("R-101", name, {"encoder": "resnet101s"}, 129, 2), 321, 8)


_DEEPLAB, _DUAL = _deeplab("deeplabv3plus"), _deeplab("deeplabv3plus-dual")
_DPT = _two_sizes(
    Model("ViT-T", "dpt", {"encoder": "vit_tiny_patch16_224", "channels": 32}, 64, 8),
    Model("DINOv2-S", "dpt", {"encoder": "vit_small_patch14_dinov2"}, 126, 2),
    518,
    4,
)
_TINY_SEMIVL = {
    "encoder": "tiny", "image_size": 32, "text": "words", "taps": (0, 1), "channels": 16, "up_channels": (16, 16),
    "skip_channels": (8, 8), "layers": 1, "pool": 2, "dilations": (1,),
}  # fmt: skip
_SMALL_SEMIVL = Model("small", "semivl", {**_TINY_SEMIVL, "image_size": 64, "channels": 32}, 64, 8)
_SEMIVL = {
    "cpu": (_SMALL_SEMIVL, Model("CLIP ViT-B", "semivl", {"image_size": 96, "text": "words"}, 96, 2)),
    "cuda": (_SMALL_SEMIVL, Model("CLIP ViT-B", "semivl", {"image_size": 512, "text": "words"}, 512, 2)),
}
#: What is measured with `--tiny`.
TINY = {
    "deeplabv3plus": Model("tiny", "deeplabv3plus", {"encoder": "tiny", "channels": 16}, 33, 2),
    "deeplabv3plus-dual": Model("tiny", "deeplabv3plus-dual", {"encoder": "tiny", "channels": 16}, 33, 2),
    "dpt": Model("tiny", "dpt", {"encoder": "test_vit", "channels": 16}, 32, 2),
    "semivl": Model("tiny", "semivl", _TINY_SEMIVL, 32, 2),
}


@dataclass(frozen=True)
class Case:
    """A method of the registry and its formula: a function of (a built method, whose modules it uses and whose `step`
    it does not; batch; progress) to the loss.

    options: of the method; ready: what the method needs before its first step (previous models, a vocabulary). least:
    the formula is not the method's own but that of the labelled images alone, with which its cost is compared; nothing
    is asserted then.
    """

    method: str
    formula: Formula
    models: Mapping[str, tuple[Model, ...]] = field(default_factory=lambda: _DEEPLAB)
    options: Mapping[str, Any] = field(default_factory=lambda: {"conf_thresh": _LITTLE})
    ready: Callable[[Method], None] | None = None
    least: bool = False


_NAMES = Vocabulary.of([f"class {index}" for index in range(_CLASSES)])


def remembers(method: Method) -> None:
    """Three previous models, of random weights."""
    torch.manual_seed(1)
    for _ in range(3):
        former = copy.deepcopy(method.student)
        with torch.no_grad():
            for parameter in former.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        method.previous.remember(former)  # type: ignore[operator, union-attr]


def hears(method: Method) -> None:
    """The names of the classes."""
    method.prompt(_NAMES)


CASES = (
    Case("supervised", inlined.supervised),
    Case("fixmatch", inlined.fixmatch),
    Case("unimatch", inlined.unimatch),
    Case(
        "prevmatch", inlined.prevmatch, options={"conf_thresh": _LITTLE, "prev_conf_thresh": _LITTLE}, ready=remembers
    ),
    Case("semivl", inlined.semivl, _SEMIVL, {"conf_thresh": _LITTLE, "guide_thresh": _LITTLE}, hears),
    Case("unimatch-v2", inlined.unimatch_v2, _DPT),
    Case("allspark", inlined.labels_only, least=True),
    Case("corrmatch", inlined.labels_only, least=True),
    Case("ddfp", inlined.labels_only, _DUAL, least=True),
)


def rows(size: Size) -> list[Row]:
    """With small models; `benchmarks.paper` has the larger ones."""
    return [row for case in CASES for row in of_models(case, case.models[size.device][:1], size)]


def of_models(case: Case, models: Sequence[Model], size: Size) -> list[Row]:
    """Rows of a method with each of the models, alone and with OOD."""
    out: list[Row] = []
    for model in models:
        for ood in (False, True):
            out += _rows(case, TINY[model.segmenter] if size.tiny else model, size, ood=ood)
    return out


def _rows(case: Case, model: Model, size: Size, *, ood: bool) -> list[Row]:
    what = f"{case.method}{' + OOD' if ood else ''}, {model}"
    method = built(case, model, size.device, ood=ood)
    given = images(model, method, size.device)
    runs = {"ours": _ours(method, given), "plain": _plain(case, copy.deepcopy(method), given)}
    if not case.least:
        _felt(what, copy.deepcopy(method), given)
        _check(what, runs)
    clock = time.process_time if size.device == "cpu" else _synchronised
    times = alternately(size, clock, **runs)
    memory = [peak(size.device, case.method, model, variant, ood=ood) for variant in ("ours", "plain")]
    beside = " beside labelled images alone" if case.least else ""
    return [
        row(f"{what}, step{beside}", times, "ours", "plain", "ms"),
        counted(f"{what}, memory of a step{beside}", *memory, "MB"),
    ]


def built(case: Case, model: Model, device: str, *, ood: bool) -> Method:
    torch.manual_seed(0)
    segmenter = build_segmenter(model.segmenter, num_classes=_CLASSES, **model.options)
    stream = {"weight": 1.0} if ood else None
    method = build_method(case.method, segmenter, num_classes=_CLASSES, ood=stream, **case.options).train().to(device)
    if case.ready is not None:
        case.ready(method)
    return method


def images(model: Model, method: Method, device: str) -> Batch:
    """What the method's views ask for."""
    made, asked = batch(model.side, model.count).to(device), method.views
    unlabeled = made.unlabeled if asked.unlabeled is not None else None
    return replace(made, unlabeled=unlabeled, mixing=made.mixing if asked.mixing else None)


def _ours(method: Method, given: Batch) -> Callable[[], Tensor]:
    return _step(method, lambda: method(given, PROGRESS, differentiate).terms.objective())


def _plain(case: Case, method: Method, given: Batch) -> Callable[[], Tensor]:
    return _step(method, lambda: case.formula(method, given, PROGRESS))


def differentiate(loss: Tensor) -> None:
    """What the training loop does after each gradient pass but the last."""
    loss.backward()  # type: ignore[no-untyped-call]


def _step(method: Method, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-2, momentum=0.9, weight_decay=1e-4)

    def run() -> Tensor:
        torch.manual_seed(0)
        optimizer.zero_grad()
        loss = compute()
        differentiate(loss)
        optimizer.step()
        return loss.detach()

    return run


def _check(what: str, runs: Mapping[str, Callable[[], Tensor]]) -> None:
    """Two steps of each: equal losses, and a second one that the first's gradients have changed alike."""
    losses = {name: [float(run()) for _ in range(2)] for name, run in runs.items()}
    for ours, plain in zip(losses["ours"], losses["plain"], strict=True):
        assert abs(ours - plain) <= 2e-4 * abs(plain), (
            f"{what}: the inlined formula has losses {losses['plain']}, ours {losses['ours']}"
        )
    assert losses["ours"][0] != losses["ours"][1], f"{what}: a step changes nothing"


def _felt(what: str, method: Method, given: Batch) -> None:
    terms = method(given, PROGRESS).terms
    zero = [name for name, term in {**terms, **terms.extras}.items() if not float(term.value.detach()) > 0]
    assert not zero, f"{what}: {zero} are zero, so they are not compared"


def _synchronised() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def peak(device: str, name: str, model: Model, variant: str, *, ood: bool) -> float:
    """Megabytes that a fresh process needs at most during a step, above what it held with the model and the batch in
    place.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (device, name, model, variant, ood))


def _peak_here(device: str, name: str, model: Model, variant: str, ood: bool) -> float:
    torch.set_num_threads(1)
    case = next(case for case in CASES if case.method == name)
    _runs(case, TINY[model.segmenter], device, ood)[variant]()  # libraries are loaded, kernels built
    run = _runs(case, model, device, ood)[variant]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return max(torch.cuda.max_memory_allocated() - before, 1) / 2**20
    before = find_peak_memory() or 0
    run()
    return max((find_peak_memory() or 0) - before, 2**10) / 2**20


def _runs(case: Case, model: Model, device: str, ood: bool) -> dict[str, Callable[[], Tensor]]:
    method = built(case, model, device, ood=ood)
    given = images(model, method, device)
    return {"ours": _ours(method, given), "plain": _plain(case, method, given)}
