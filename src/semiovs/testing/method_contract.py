"""The contract checks of a method: each function builds the method and checks its steps on toy batches."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from semiovs.config.schema import OptimConfig
from semiovs.data import Batch
from semiovs.errors import UsageError
from semiovs.methods import Method, Progress, Step
from semiovs.methods.ood import CONFIDENCES
from semiovs.methods.step import iterate
from semiovs.testing.checks import require
from semiovs.testing.toy import ARMS, K, toy_batch

#: Builds the method with an OOD stream or without (None); further keywords: ``norm``, ``seed``, options of the method.
Build = Callable[..., Method]
Ood = Mapping[str, Any] | None

#: Progress of the step that is checked.
PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)


def run(method: Method, batch: Batch, seed: int = 5) -> Step:
    """One step with the draws of `seed`."""
    torch.manual_seed(seed)
    step: Step = method(batch, PROGRESS)
    return step


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def tensors(batch: Batch) -> list[Tensor]:
    """All tensors of a batch."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    batch.map(keep)
    return found


def finite_and_deterministic(build: Build, ood: Ood) -> None:
    """Two methods with the same weights, draws and batch have the same finite terms."""
    first, second = (run(m := build(ood), toy_batch(m)) for _ in range(2))
    require(
        bool(torch.isfinite(first.terms.total())),
        "the total of the terms is not finite; look at its divisors and logarithms",
    )
    for key, (_, value) in first.terms.items():
        require(
            value.ndim == 0,
            f"term '{key}' has shape {tuple(value.shape)}; every term must be a mean or sum, a 0-d tensor",
        )
        require(
            value.equal(second.terms[key].value),
            f"term '{key}' is {value.item():g} and then {second.terms[key].value.item():g} on the same batch with the "
            "same draws; draw random numbers through self.draws",
        )


def total_is_the_formula(build: Build, ood: Ood) -> None:
    """The total is Σ weight · value / normaliser, plus the extras."""
    terms = run(m := build(ood), toy_batch(m)).terms
    by_hand = sum(w * v for w, v in terms.values()) / terms.normaliser + sum(w * v for w, v in terms.extras.values())
    require(
        torch.allclose(terms.total(), torch.as_tensor(by_hand)),
        "terms.total() must be Σ weight · value / normaliser + Σ extras",
    )


def normaliser_is_the_sum_of_weights(build: Build, ood: Ood) -> None:
    """The total is a weighted mean of the terms."""
    terms = run(m := build(ood), toy_batch(m)).terms
    weights = sum(w for w, _ in terms.values())
    require(
        math.isclose(terms.normaliser, weights, rel_tol=1e-6),
        f"the normaliser is {terms.normaliser:g}, the weights sum to {weights:g}; set normaliser to their sum, or put "
        "what is added whole into extras",
    )


def every_trained_parameter_gets_a_gradient(build: Build, ood: Ood) -> None:
    """Trained parameters have finite gradients and are in an optimiser; frozen ones have none."""
    method = build(ood, ema_decay=0.9)
    _backward(run(method, toy_batch(method)).terms.objective())
    for key, parameter in method.named_parameters():
        if key.startswith("ema."):
            require(not parameter.requires_grad, f"{key} of the averaged teacher must not require a gradient")
        if parameter.requires_grad:
            gradient = parameter.grad
            require(
                gradient is not None, f"{key} gets no gradient; use it in a term, or freeze it (requires_grad_(False))"
            )
            require(gradient is None or bool(torch.isfinite(gradient).all()), f"the gradient of {key} is not finite")
        else:
            require(parameter.grad is None, f"{key} is frozen and got a gradient")
    trained = {id(p) for o in method.optimizers(OptimConfig()) for g in o.param_groups for p in g["params"]}
    require(
        trained == {id(p) for p in method.parameters() if p.requires_grad},
        "the optimisers must hold exactly the parameters that require a gradient; see Method.parameter_groups",
    )


def passes_add_up_to_the_whole(build: Build, ood: Ood) -> None:
    """Learning one gradient pass after the other gives the loss and the gradients of learning all of them at once."""
    methods = build(ood), build(ood)
    totals = []
    for method, learn in zip(methods, (None, _backward), strict=True):
        batch = toy_batch(method)
        torch.manual_seed(5)
        terms = method(batch, PROGRESS, learn).terms
        _backward(terms.objective())
        totals.append(terms.total().detach())
    require(
        torch.allclose(totals[0], totals[1]), "the losses of the passes do not add up to that of the whole step: give "
        "each pass the normaliser of the whole (Terms.part)",
    )  # fmt: skip
    for (key, whole), (_, parts) in zip(*(method.named_parameters() for method in methods), strict=True):
        same = (whole.grad is None) == (parts.grad is None) and (
            whole.grad is None or parts.grad is None or torch.allclose(whole.grad, parts.grad, rtol=1e-3, atol=1e-6)
        )
        require(same, f"{key} gets another gradient when each pass is learnt by itself; see `Passes`")


def batch_is_not_changed(build: Build, ood: Ood) -> None:
    """No tensor of the batch is written to."""
    method = build(ood)
    batch = toy_batch(method)
    before = [t.clone() for t in tensors(batch)]
    _backward(run(method, batch).terms.total())
    same = all(torch.equal(a, b) for a, b in zip(before, tensors(batch), strict=True))
    require(same, "the step changed a tensor of its batch; make a copy before an in-place operation")


def modes_are_restored(build: Build, ood: Ood) -> None:
    """Every module is in training or evaluation mode as before the step."""
    method = build(ood)
    method.student.backbone.eval()  # a frozen encoder stays as the user set it
    modes = {key: m.training for key, m in method.named_modules()}
    run(method, toy_batch(method))
    changed = [key for key, m in method.named_modules() if modes.get(key) != m.training]
    require(
        not changed,
        f"the step leaves {changed[:3]} in another mode; put passes in evaluation mode inside `no_gradient`",
    )


def state_round_trip_continues_bit_for_bit(build: Build, ood: Ood) -> None:
    """Two steps in one go equal one step, a save through a file, and one more step in a fresh method."""

    def advance(method: Method, optimizers: list[torch.optim.Optimizer], number: int) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        _backward(run(method, toy_batch(method, seed=number), seed=number).terms.objective())
        for optimizer in optimizers:
            optimizer.step()
        method.after_step(replace(PROGRESS, step=number))

    def fresh(seed: int) -> tuple[Method, list[torch.optim.Optimizer]]:
        method = build(ood, seed=seed, ema_decay=0.5)
        return method, method.optimizers(OptimConfig(lr=0.01))

    straight, optimizers = fresh(0)
    advance(straight, optimizers, 1)
    file = io.BytesIO()
    torch.save({"method": straight.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}, file)
    advance(straight, optimizers, 2)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed, other = fresh(99)
    resumed.load_state_dict(saved["method"])
    for optimizer, state in zip(other, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    advance(resumed, other, 2)
    for key, value in straight.state_dict().items():
        same = value.equal(resumed.state_dict()[key])
        require(
            same, f"after a save and a load, {key} differs one step later; keep all state in buffers and submodules"
        )


def batch_of_one(build: Build, ood: Ood) -> None:
    """A batch of one image, without partners for CutMix, is learnt too."""
    method = build(ood, norm="group")
    batch = replace(toy_batch(method, count=1), mixing=None)
    finite = torch.isfinite(run(method, batch).terms.total())
    require(bool(finite), "the total of a batch of one image is not finite")


def nothing_labelled_nothing_valid_is_zero_not_nan(build: Build, ood: Ood) -> None:
    """Where every pixel is to be ignored the loss is zero and so are its gradients."""
    method = build(ood)
    batch = toy_batch(method)

    def void(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.bool:
            return torch.zeros_like(tensor)
        return torch.full_like(tensor, 255) if tensor.dtype == torch.int64 and tensor.shape[-1] > 4 else tensor

    total = run(method, batch.map(void)).terms.total()
    _backward(total)
    require(
        total.item() == 0,
        f"with nothing labelled and nothing valid the total is {total.item():g}, not 0; use `denominator`",
    )
    finite = all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)
    require(finite, "with nothing labelled and nothing valid there are gradients that are not finite")


def ood_stream_adds_no_state(build: Build) -> None:
    """A checkpoint has the same keys with and without the OOD stream."""
    keys = [set(build(ood).state_dict()) for ood in ARMS.values()]
    require(
        keys[0] == keys[1] == keys[2],
        f"state_dict() differs by {keys[0] ^ keys[1] or keys[0] ^ keys[2]} with the OOD stream",
    )


def naive_arm_differs_in_labels_alone(build: Build) -> None:
    """Same batch, same draws: the arms run the same passes; only the OOD targets differ."""
    ovs, naive = build(ARMS["ovs"]), build(ARMS["naive"])
    batch = toy_batch(ovs)
    a, b = run(ovs, batch), run(naive, batch)
    require(list(a.terms) == list(b.terms), f"terms differ: {list(a.terms)} and {list(b.terms)} (ood.mode=naive)")
    require(bool(a.terms.normaliser == b.terms.normaliser), "the normaliser must not depend on ood.mode")
    for key in a.terms:
        require(bool(a.terms[key].weight == b.terms[key].weight), f"the weight of '{key}' must not depend on ood.mode")
        same = key.startswith("ood_") or a.terms[key].value.equal(b.terms[key].value)
        require(same, f"term '{key}' depends on who labels the OOD images; only terms called ood_… may")
    require(
        not a.pseudo["ood"].label.equal(b.pseudo["ood"].label),
        "with ood.mode=naive the student must label OOD images",
    )
    require(a.pseudo["ood"].valid.equal(b.pseudo["ood"].valid), "the valid OOD pixels must not depend on ood.mode")
    for key, value in ovs.state_dict().items():  # BatchNorm statistics: the same forwards happened
        require(value.equal(naive.state_dict()[key]), f"{key} depends on ood.mode; both modes must run the same passes")


def naive_arm_reads_no_label_of_the_batch(build: Build) -> None:
    """Its labels and confidences are the method's own; of the batch it takes images and valid pixels alone."""
    naive = {"weight": 1.0, "mode": "naive"}
    batch = toy_batch(build(naive))
    ood = batch.ood
    require(ood is not None, "the toy batch brings OOD images")
    assert ood is not None
    other = replace(batch, ood=replace(ood, label=(ood.label + 1) % K, confidence=1 - ood.confidence))
    for confidence in CONFIDENCES:
        totals = [run(build({**naive, "confidence": confidence}), b).terms.total() for b in (batch, other)]
        require(totals[0].equal(totals[1]), "with ood.mode=naive the labels of the batch must not be read")
    fewer = replace(batch, ood=replace(ood, valid=ood.valid & (ood.label != 0)))
    valid = run(build(naive), fewer).pseudo["ood"].valid
    require(valid.equal(ood.valid & (ood.label != 0)), "with ood.mode=naive the valid pixels are those of the batch")


def ood_images_in_the_shared_pass(build: Build) -> None:
    """`step` returns what the first pass says of the OOD images it was given, and nothing where it shares no pass."""
    method = build()
    batch = toy_batch(build(ARMS["ovs"]), count=3)
    assert batch.ood is not None
    torch.manual_seed(5)
    alone = next(iterate(method.step(batch, PROGRESS))).shared
    require(alone.clean is None and not alone.terms, "without OOD images `Step.shared` must be empty")
    if not method.shares_pass:
        return
    shared = next(iterate(method.step(batch, PROGRESS, (batch.ood.weak[:2],)))).shared
    require(shared.clean is not None, "`step` was given OOD images and `Step.shared.clean` holds no logits of them")
    unknown = {*shared.terms} - {*method.consistency}
    require(not unknown, f"`Step.shared.terms` names {unknown}, which are no terms in `consistency`")
    for logits in filter(lambda one: one is not None, (shared.clean, *shared.terms.values())):
        right = logits is not None and logits.shape == (2, K, *batch.ood.weak.shape[-2:])
        require(right, "logits of the OOD images in the shared pass must have their number, classes and size")


def ood_weights_sum_to_lambda(build: Build) -> None:
    """The weights of the OOD terms sum to ``ood.weight``."""
    step = run(m := build({"weight": 0.6}), toy_batch(m))
    total = sum(w for key, (w, _) in step.terms.items() if key.startswith("ood_"))
    require(
        math.isclose(total, 0.6, rel_tol=1e-6), f"the weights of the OOD terms sum to {total:g}, not to ood.weight=0.6"
    )


def autocast_gives_gradients_close_to_float32(build: Build) -> None:
    """The labelling pass under no_grad must not starve the training passes of the weights' gradients."""
    gradients: dict[bool, Tensor] = {}
    for enabled in (False, True):
        method = build(ARMS["ovs"])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = run(method, toy_batch(method)).terms.total()
        _backward(loss)
        every = [(key, p) for key, p in method.student.named_parameters() if p.requires_grad]
        starved = [key for key, p in every if p.grad is None]
        require(
            not starved, f"with autocast={enabled} there are no gradients for {starved[:3]}; label inside `no_gradient`"
        )
        heads = [p for key, p in every if key.endswith("classifier.weight")]
        last = (heads or [p for _, p in every if p.ndim > 1][-1:])[0].grad
        gradients[enabled] = torch.zeros(0) if last is None else last.flatten()
    close = torch.nn.functional.cosine_similarity(gradients[False], gradients[True], dim=0).item()
    require(
        close > 0.98,
        f"the last layer's gradient in bfloat16 has a cosine of {close:.3f} with float32's, not above 0.98",
    )


def thresholds_per_class(build: Build) -> None:
    """One number a class, all equal, is the one number; a class at 2 is never taken."""
    one, many = build(conf_thresh=0.4), build(conf_thresh=[0.4] * K)
    batch = toy_batch(one)
    same = run(one, batch).terms.total().equal(run(many, batch).terms.total())
    require(same, "conf_thresh=[0.4, 0.4, …] must be the same as conf_thresh=0.4; compare with self.threshold")
    never = run(build(conf_thresh=[2.0] * K), batch).terms
    own = [key for key in never if key in ("u", *one.consistency)]
    require(
        bool(own) or not one.reads_unlabeled, f"no term of {list(never)} is called 'u' or is named in `consistency`"
    )
    taken = [key for key in own if never[key].value != 0]
    require(
        not taken,
        f"terms {taken} are not 0 at a threshold of 2, which no probability reaches; apply self.threshold to them",
    )


def unknown_options_are_refused(build: Build) -> None:
    """An option that the method does not have is an error and not swallowed by ``**options``."""
    known = build()
    try:
        type(known)(known.student, num_classes=K, no_such_option=1)  # type: ignore[call-arg]
    except (TypeError, UsageError):
        return
    raise AssertionError(
        "the method takes an option 'no_such_option'; hand **options on to Method.__init__, which refuses it"
    )


def batch_that_lacks_a_stream_is_refused(build: Build) -> None:
    """UsageError names the stream that the batch does not bring."""
    method = build(ARMS["ovs"])
    try:
        run(method, replace(toy_batch(method), ood=None))
    except UsageError as error:
        require("brings no" in str(error), f"the error must say that the batch brings no OOD images, not: {error}")
    else:
        raise AssertionError(
            "a batch without OOD images must be refused with UsageError where the method has an OOD stream"
        )


def other_numbers_of_ood_images(build: Build) -> None:
    """`ood.batch_size` is free: partners for the patches are taken in turn."""
    for count in (2, 4):
        method = build(ARMS["ovs"])
        more = toy_batch(method, count=count, seed=2)
        step = run(method, replace(toy_batch(method, count=3), ood=more.ood))
        require(
            bool(torch.isfinite(step.terms.total())), f"the total with {count} OOD and 3 other images is not finite"
        )
        found = len(step.pseudo["ood"].label)
        require(found == count, f"{found} OOD targets for {count} OOD images")


IN_EVERY_ARM: tuple[Callable[[Build, Ood], None], ...] = (
    finite_and_deterministic,
    total_is_the_formula,
    passes_add_up_to_the_whole,
    normaliser_is_the_sum_of_weights,
    every_trained_parameter_gets_a_gradient,
    batch_is_not_changed,
    modes_are_restored,
    state_round_trip_continues_bit_for_bit,
    batch_of_one,
    nothing_labelled_nothing_valid_is_zero_not_nan,
)
ONCE: tuple[Callable[[Build], None], ...] = (
    ood_stream_adds_no_state,
    naive_arm_differs_in_labels_alone,
    naive_arm_reads_no_label_of_the_batch,
    ood_images_in_the_shared_pass,
    ood_weights_sum_to_lambda,
    autocast_gives_gradients_close_to_float32,
    thresholds_per_class,
    unknown_options_are_refused,
    batch_that_lacks_a_stream_is_refused,
    other_numbers_of_ood_images,
)
