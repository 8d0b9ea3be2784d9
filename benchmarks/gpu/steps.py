"""Steps with the papers' models, as the training loop takes them: autocast, channels last, one pass after the other."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks import methods
from benchmarks.gpu.device import with_tf32
from benchmarks.gpu.meter import Measured, Place, timed
from benchmarks.methods import CASES, PROGRESS, TINY, Case, Model
from benchmarks.plain_step import PlainUniMatch
from semiovs.data import Batch
from semiovs.engine.precision import Precision
from semiovs.methods import Method

#: The loss of a batch, differentiated but for what the last pass left, given what differentiates.
Compute = Callable[[Callable[[Tensor], None]], Tensor]
Step = Callable[[], Tensor]


def of_method(name: str, place: Place) -> list[Measured]:
    """Time, memory and waits of a step beside those of its formula, both in the precision that trainings take here."""
    case = next(case for case in CASES if case.method == name)
    return [row for ood in (False, True) for row in _of_case(case, place, ood=ood)]


def published(place: Place) -> list[Measured]:
    """UniMatch and SemiOVS against the step as published, which is fp32 with TF32 convolutions (torch's default)."""
    case, found = next(case for case in CASES if case.method == "unimatch"), []
    for ood in (False, True):
        method, batch = prepare(case, place, ood=ood)
        plain = PlainUniMatch(copy.deepcopy(method.student), float(method.conf_thresh), ood=ood).train()  # type: ignore[arg-type]
        plain = plain.to(memory_format=torch.contiguous_format)
        as_loaded = _as_loaded(batch)
        fp32 = Precision("fp32", place.device)
        ours = take(method, lambda learn, m=method, b=batch: _terms(m, b, learn), default_precision(place))
        theirs = take(plain, lambda _, p=plain, b=as_loaded: p(b), fp32)
        what = f"{'SemiOVS' if ood else 'UniMatch'} as published, {model_of(case, place)}"
        found += _compare(what, place, ours, theirs)
        del method, plain, batch, as_loaded, ours, theirs
        place.forget()
    return found


def precision(place: Place) -> list[Measured]:
    """UniMatch with OOD images, interleaved: each kind of arithmetic in each memory format."""
    case = next(case for case in CASES if case.method == "unimatch")
    kinds = ("fp32", "tf32", "bf16", "fp16") if place.on_gpu else ("fp32", "bf16")
    variants: dict[str, Step] = {}
    for kind in kinds:
        for last in (False, True):
            method, batch = prepare(case, place, ood=True, channels_last=last)
            chosen = Precision("fp32" if kind == "tf32" else kind, place.device)  # type: ignore[arg-type]
            step = take(method, lambda learn, m=method, b=batch: _terms(m, b, learn), chosen)
            variants[f"{kind}{', channels last' if last else ''}"] = with_tf32(step, tf32=kind == "tf32")
    times = place.alternately(**variants)
    what = f"unimatch + OOD, {model_of(case, place)}"
    found = [timed(f"{what}, {name}", times, name, "fp32") for name in variants]
    memory = {name: place.megabytes(step) for name, step in variants.items()}
    return found + [
        Measured(f"{what}, {name}, memory", value, "MB", plain=memory["fp32"]) for name, value in memory.items()
    ]


def compiled(place: Place) -> list[Measured]:
    """The student's parts compiled as `train.compile=true` does it; on a CPU without generated code (backend eager)."""
    found = []
    for name in place.of(("supervised", "unimatch", "prevmatch"), ("supervised",)):
        case = next(case for case in CASES if case.method == name)
        steps: dict[str, Step] = {}
        for kind in ("eager", "compiled"):
            method, batch = prepare(case, place, ood=True)
            for part in method.student.children() if kind == "compiled" else ():
                part.compile() if place.on_gpu else part.compile(backend="eager")
            steps[kind] = take(method, lambda learn, m=method, b=batch: _terms(m, b, learn), default_precision(place))
        what, begin = f"{name} + OOD, {model_of(case, place)}", time.perf_counter()
        steps["compiled"]()
        first = time.perf_counter() - begin
        times = place.alternately(**steps)
        found += [
            timed(f"{what}, compiled", times, "compiled", "eager"),
            Measured(f"{what}, compiled, first step", first, "s"),
            Measured(f"{what}, compiled, memory", place.megabytes(steps["compiled"]), "MB",
                     plain=place.megabytes(steps["eager"])),
        ]  # fmt: skip
        del steps, method, batch
        place.forget()
    return found


def default_precision(place: Place) -> Precision:
    """What `train.precision=auto` takes here."""
    return Precision.choose("auto", torch.device(place.device))


def model_of(case: Case, place: Place) -> Model:
    """The paper's model; its tiny stand-in for a rehearsal."""
    model = case.models["cuda"][1]
    return place.of(model, TINY[model.segmenter])  # type: ignore[no-any-return]


def prepare(case: Case, place: Place, *, ood: bool, channels_last: bool = True) -> tuple[Method, Batch]:
    """A method on the device, and what it reads."""
    model = model_of(case, place)
    method = methods.built(case, model, place.device, ood=ood)
    given = methods.images(model, method, place.device)
    if not channels_last:
        return method, given
    formats = {"memory_format": torch.channels_last}
    return method.to(**formats), given.map(lambda t: t.contiguous(**formats) if t.ndim == 4 else t)


def take(module: nn.Module, compute: Compute, precision: Precision) -> Step:
    """A whole step: losses, gradients, optimiser; the same draws each time."""
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 1e-3, 0.9, weight_decay=1e-4)
    scaler = precision.scaler()

    def learn(loss: Tensor) -> None:
        with precision.without_autocast():
            scaler.scale(loss).backward()

    def step() -> Tensor:
        torch.manual_seed(0)
        optimizer.zero_grad()
        with precision.autocast():
            loss = compute(learn)
        learn(loss)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def step_of(name: str, place: Place) -> Step:
    """A step of a method with OOD images, for a profile."""
    method, batch = prepare(next(case for case in CASES if case.method == name), place, ood=True)
    return take(method, lambda learn: _terms(method, batch, learn), default_precision(place))


def _terms(method: Method, batch: Batch, learn: Callable[[Tensor], None]) -> Tensor:
    objective: Tensor = method(batch, PROGRESS, learn).terms.objective()
    return objective


def _of_case(case: Case, place: Place, *, ood: bool) -> list[Measured]:
    method, batch = prepare(case, place, ood=ood)
    formula, chosen = copy.deepcopy(method), default_precision(place)
    ours = take(method, lambda learn: _terms(method, batch, learn), chosen)
    plain = take(formula, lambda _: case.formula(formula, batch, PROGRESS), chosen)
    what = f"{case.method}{' + OOD' if ood else ''}, {model_of(case, place)}"
    beside = " beside labelled images alone" if case.least else ""
    found = _compare(f"{what}, {chosen.name}{beside}", place, ours, plain)
    if not case.least:
        found.append(_agreement(what, case, place, ood=ood))
    place.forget()
    return found


def _compare(what: str, place: Place, ours: Step, plain: Step) -> list[Measured]:
    times = place.alternately(ours=ours, plain=plain)
    memory = [place.megabytes(run) for run in (ours, plain)]
    found = [timed(what, times, "ours", "plain"), Measured(f"{what}, memory", memory[0], "MB", plain=memory[1])]
    waits = [place.synchronisations(run) for run in (ours, plain)]
    if waits[0] is not None:
        found.append(Measured(f"{what}, host synchronisations", waits[0], "a step", plain=waits[1]))
    return found


def _as_loaded(batch: Batch) -> Batch:
    """As the published loader brings it: NCHW, and boxes whose maps are made on the host."""
    assert batch.unlabeled is not None
    unlabeled = replace(batch.unlabeled, boxes=tuple(box.cpu() for box in batch.unlabeled.boxes))
    return replace(batch.map(torch.Tensor.contiguous), unlabeled=unlabeled.map(torch.Tensor.contiguous))


def _agreement(what: str, case: Case, place: Place, *, ood: bool) -> Measured:
    """How far the losses of a step and of its formula are apart, in fp32 without TF32, relative to the loss."""
    method, batch = prepare(case, place, ood=ood)
    formula = copy.deepcopy(method)
    losses = []
    for compute in (
        lambda: method(batch, PROGRESS).terms.objective().detach(),
        lambda: case.formula(formula, batch, PROGRESS).detach(),
    ):
        torch.manual_seed(0)
        losses.append(float(with_tf32(compute, tf32=False)()))
    apart = abs(losses[0] - losses[1]) / abs(losses[1])
    assert apart < 1e-2, f"{what}: the formula has loss {losses[1]}, the method {losses[0]}"
    return Measured(f"{what}, fp32 loss apart from the formula's", apart, "of it")
