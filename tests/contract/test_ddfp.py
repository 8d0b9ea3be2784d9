"""DDFP's phases, perturbation, flow, teacher and optimisers, beyond what every method must do."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contract.toy import ARMS, K, toy_batch, toy_method
from semiovs.config.schema import OptimConfig
from semiovs.data import Batch
from semiovs.engine.checkpoint_state import CheckpointIdentity, pack, restore
from semiovs.engine.distributed import World
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.loop import Learner, Recipe, fit
from semiovs.engine.lr_schedule import Schedule
from semiovs.engine.precision import Precision
from semiovs.errors import UsageError
from semiovs.methods import Progress, Step, build_method
from semiovs.methods.ddfp import FLOW_GROUP, MOST_PIXELS, NOISE
from semiovs.methods.draws import Draws
from semiovs.models import build_segmenter

CPU = World(torch.device("cpu"))
SUPERVISED, JOINT, PERTURBED = (Progress(4 * epoch, 80, epoch, 20) for epoch in range(3))
every = pytest.mark.parametrize("arm", list(ARMS))


class Everything(Draws):
    """All pixels, no noise."""

    def pixels(self, wanted: Tensor, most: int) -> Tensor:
        return torch.arange(len(wanted))

    def noise(self, like: Tensor, std: float) -> Tensor:
        return torch.zeros_like(like)


def run(method: Any, batch: Batch, progress: Progress = PERTURBED, seed: int = 5) -> Step:
    torch.manual_seed(seed)
    step: Step = method(batch, progress)
    return step


def weights(step: Step) -> dict[str, float]:
    return {name: weight for name, (weight, _) in step.terms.items()}


@every
def test_phases_and_their_terms(arm: str) -> None:
    """Labelled images; then strong views; then perturbed ones too. The OOD terms follow, and always weigh λ."""
    method, λ = toy_method("ddfp", ARMS[arm] and {**ARMS[arm], "weight": 0.6}), 0.6  # type: ignore[dict-item]
    batch, ood = toy_batch(method), arm != "alone"
    first, second, third = (run(method, batch, progress) for progress in (SUPERVISED, JOINT, PERTURBED))
    assert weights(first) == {"x": 1.0} | ({"ood_s": λ} if ood else {})
    assert weights(second) == {"x": 1.0, "u": 1.0, "flow": 0.0} | ({"ood_s": λ} if ood else {})
    assert weights(third) == {"x": 1.0, "u": 0.5, "u_pt": 0.5, "flow": 0.0} | (
        {"ood_s": λ / 2, "ood_pt": λ / 2} if ood else {}
    )
    normalisers = [s.terms.normaliser for s in (first, second, third)]
    assert normalisers == pytest.approx([1 + λ, 1 + λ / 2, 1 + λ / 2] if ood else [1, 1, 1])
    v = {name: value for name, (_, value) in third.terms.items()}
    by_hand = v["x"] + 0.5 * (v["u"] + v["u_pt"])
    if ood:
        by_hand = (by_hand + λ * 0.5 * (v["ood_s"] + v["ood_pt"])) * 2 / (2 + λ)
    torch.testing.assert_close(third.terms.total(), by_hand)
    torch.testing.assert_close(third.terms.objective(), by_hand + v["flow"])


def test_a_run_too_short_for_the_warm_up_has_none() -> None:
    method: Any = toy_method("ddfp")
    assert [method.phase(Progress(0, 10, 0, epochs)) for epochs in (1, 2, 3)] == [
        "perturbed",
        "perturbed",
        "supervised",
    ]
    assert "u_pt" in run(method, toy_batch(method), Progress(0, 10)).terms
    assert toy_method("ddfp", warmup=[0, 0]).phase(Progress(0, 80, 0, 20)) == "perturbed"  # type: ignore[operator]


@every
def test_gradients_of_the_main_phase(arm: str) -> None:
    """All of the student by the loss; the flow by its likelihood alone, which the student's loss does not know."""
    method = toy_method("ddfp", ARMS[arm])
    step = run(method, toy_batch(method))
    step.terms.total().backward(retain_graph=True)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.student.parameters())
    assert all(p.grad is None for p in method.flow.parameters())  # type: ignore[union-attr]
    before = [p.grad.clone() for p in method.student.parameters() if p.grad is not None]
    step.terms.apart["flow"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.flow.parameters())  # type: ignore[union-attr]
    assert all(torch.equal(p.grad, g) for p, g in zip(method.student.parameters(), before, strict=True))  # type: ignore[arg-type]


@every
def test_no_confident_pixel_is_zero_not_nan(arm: str) -> None:
    """The published program fails here: its attack has nothing to differentiate, and its mean is 0/0."""
    method = toy_method("ddfp", ARMS[arm] and {**ARMS[arm], "confidence": "score"}, conf_thresh=1.1)  # type: ignore[dict-item]
    step = run(method, toy_batch(method))
    assert set(step.terms) == {"x", "flow", "u", "u_pt", *(("ood_s", "ood_pt") if arm != "alone" else ())}
    assert all(value == 0 for name, (_, value) in step.terms.items() if name not in ("x", "flow"))
    step.terms.objective().backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_the_loss_is_a_mean_over_the_confident_pixels_alone() -> None:
    method: Any = toy_method("ddfp")
    step = run(method, batch := toy_batch(method))
    y, scored = step.pseudo["u"], []
    score = method.student.score
    method.student.score = lambda f, size: scored.append(score(f, size)) or scored[-1]
    again = run(method, batch)
    p_u = scored[-1][2:4]
    kept = y.mask(method.threshold)
    assert 0 < kept.sum() < y.valid.sum()
    by_hand = torch.nn.functional.cross_entropy(p_u, y.label.where(kept, 255), ignore_index=255)
    torch.testing.assert_close(again.terms["u"].value, by_hand)


def test_the_perturbation_leads_away_from_the_density_and_ignores_unconfident_pixels() -> None:
    method: Any = toy_method("ddfp", norm="group", eps=2.0)
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    g = torch.randn(2, 64, 9, 9)
    kept = torch.ones(2, 33, 33, dtype=torch.bool)
    kept[1] = False
    pt = method.perturbation(g, kept)
    assert not pt.requires_grad
    torch.testing.assert_close(pt[0].norm(dim=0), torch.full((9, 9), 2.0))
    assert (pt[1] == 0).all()  # with GroupNorm an image has only itself
    before, after = (
        method.flow(method.student.perceive(h[:1], 1).movedim(1, -1).flatten(0, 2)).sum() for h in (g, g + pt)
    )
    assert after < before
    assert all(p.grad is None for p in method.parameters())


def test_ood_shares_the_passes() -> None:
    """[x | u | o] by the first BatchNorm and [u,pt | o,pt] by the second, in one pass."""
    method: Any = toy_method("ddfp", ARMS["ovs"])
    seen: list[tuple[int, int]] = []
    perceive = method.student.perceive
    method.student.perceive = lambda g, adverse=0: seen.append((len(g), adverse)) or perceive(g, adverse)
    batch = replace(toy_batch(method, count=3), ood=toy_batch(method, count=2, seed=9).ood)
    run(method, batch)
    assert seen == [(5, 5), (13, 5)]
    run(method, batch, JOINT)
    assert seen[2:] == [(8, 5)]
    run(method, batch, SUPERVISED)
    assert seen[3:] == [(5, 0)]


def test_the_flow_never_sees_ood_images() -> None:
    with_ood: Any = toy_method("ddfp", ARMS["ovs"])
    alone: Any = toy_method("ddfp")
    for method in (with_ood, alone):
        method.draws = Everything()
    batch = toy_batch(with_ood)
    assert run(with_ood, batch).terms["flow"].value.equal(run(alone, replace(batch, ood=None)).terms["flow"].value)


def test_what_the_flow_learns_from() -> None:
    """Labelled pixels under their class, valid unlabelled ones under any, void and padding not at all."""
    method: Any = toy_method("ddfp", conf_thresh=0.0)
    seen: list[tuple[Tensor, Tensor]] = []

    class Spy(torch.nn.Module):
        def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
            if label is not None:
                seen.append((x, label))
            return x.sum(1)

    method.flow, method.draws = Spy(), Everything()
    batch = toy_batch(method)
    assert batch.unlabeled is not None
    run(method, batch)
    label = seen[0][1].view(4, 9, 9)
    assert set(label[:2].unique().tolist()) == {*range(K), 255}
    assert set(label[2:].unique().tolist()) == {300, 255}
    at = (torch.arange(9) * 33 / 9).floor().long()
    assert torch.equal(label[:2], batch.labeled.mask[:, at][:, :, at])
    assert torch.equal(label[2:] == 300, batch.unlabeled.valid[:, at][:, :, at])


def test_draws_of_pixels_and_noise() -> None:
    torch.manual_seed(0)
    wanted = torch.arange(1000) % 3 == 0
    chosen = Draws().pixels(wanted, 200)
    assert len(chosen.unique()) == len(chosen) == 200
    assert wanted[chosen].all()
    assert not torch.equal(chosen, Draws().pixels(wanted, 200))
    few = Draws().pixels(wanted, 500)
    assert wanted[few].sum() == wanted.sum() == 334  # all of them, then others, which do not count
    assert torch.equal(Draws().pixels(wanted, 1000), torch.arange(1000))
    assert Draws().noise(torch.zeros(10_000), NOISE).std() == pytest.approx(NOISE, rel=0.05)


def test_how_many_pixels_the_flow_learns_from() -> None:
    """At most 20480, and no larger a share than they are of the published batch; parity: all that are fewer."""
    asked: list[int] = []

    class Spy(Draws):
        def pixels(self, wanted: Tensor, most: int) -> Tensor:
            asked.append(most)
            return super().pixels(wanted, most)

    for parity in (False, True):
        method = toy_method("ddfp", parity=parity)
        method.draws = Spy()
        run(method, toy_batch(method))
    assert asked == [4 * 9 * 9 // 6, MOST_PIXELS]
    assert MOST_PIXELS == 20_480 < 8 * 129 * 129 / 6  # four labelled and four unlabelled images of 513²


def test_the_teacher_is_an_average_and_no_alias() -> None:
    average, alias = (toy_method("ddfp", teacher=teacher, ema_decay=0.9) for teacher in ("ema", "alias"))
    for method in (average, alias):
        mine = {p.data_ptr() for p in method.student.parameters()}
        assert not mine & {p.data_ptr() for p in method.ema.parameters()}  # type: ignore[union-attr]
        with torch.no_grad():
            for p in method.student.parameters():
                p += 1.0
        method.after_step(Progress(79, 80, 19, 20))
    first = next(average.student.parameters()), next(average.ema.parameters())  # type: ignore[union-attr]
    torch.testing.assert_close(first[1], first[0] - 0.9)
    assert torch.equal(next(alias.student.parameters()), next(alias.ema.parameters()))  # type: ignore[union-attr]


def test_the_average_begins_after_the_supervised_epochs() -> None:
    """a = min(1 - 1 / (t + 1), 0.999) with t counted from epoch 1; before, the teacher is the student."""
    method = toy_method("ddfp")
    for step, a in ((0, 0.0), (4, 0.0), (5, 0.5), (6, 2 / 3)):
        old = next(method.ema.parameters()).clone()  # type: ignore[union-attr]
        with torch.no_grad():
            for p in method.student.parameters():
                p += 1.0
        method.after_step(Progress(step, 80, step // 4, 20))
        new, student = next(method.ema.parameters()), next(method.student.parameters())  # type: ignore[union-attr]
        torch.testing.assert_close(new, a * old + (1 - a) * student)


def test_the_teacher_labels_in_evaluation_mode_and_with_parity_in_training_mode() -> None:
    for parity in (False, True):
        method = toy_method("ddfp", parity=parity)
        before = copy.deepcopy(method.ema.state_dict())  # type: ignore[union-attr]
        run(method, toy_batch(method))
        moved = [k for k, v in method.ema.state_dict().items() if not v.equal(before[k])]  # type: ignore[union-attr]
        assert bool(moved) == parity
        assert not any(m.training for m in method.ema.modules())  # type: ignore[union-attr]


def learner(arm: str, *, scaler: bool = False) -> Learner:
    method = toy_method("ddfp", ARMS[arm])
    scale = torch.amp.GradScaler("cpu", enabled=scaler, init_scale=2.0**8)
    return Learner(method, method.optimizers(OptimConfig(lr=0.01)), scale, FiniteGuard(CPU))


class EnoughError(Exception):
    """Ends a training early."""


def train(learner: Learner, until: int) -> Learner:
    """Steps of three epochs of two, so that each phase has its turn."""

    def batches() -> Iterator[Batch]:
        for step in range(learner.step, 6):
            yield toy_batch(learner.method, seed=step)

    recipe = Recipe(Schedule(6, steps_per_epoch=2), Precision("fp32"), lambda batch: batch, steps_per_epoch=2)

    def stop(at: Learner) -> None:
        if at.step == until:
            raise EnoughError

    with contextlib.suppress(EnoughError):
        fit(learner, batches(), recipe, CPU, [stop])
    return learner


@every
@pytest.mark.parametrize("at", [1, 3, 5])
def test_resume_in_any_phase_is_bit_identical(arm: str, at: int) -> None:
    """Through the checkpoint of the engine, with both optimisers."""
    straight = train(learner(arm), 6)
    state = pack(train(learner(arm), at), CheckpointIdentity({}, {}))
    assert len(state["optimizers"]) == 2
    resumed = learner(arm)
    torch.nn.init.zeros_(resumed.method.flow.means)  # type: ignore[union-attr]
    restore(resumed, state, CPU.device)
    train(resumed, 6)
    for key, value in straight.method.state_dict().items():
        assert value.equal(resumed.method.state_dict()[key]), key
    first, second = io.BytesIO(), io.BytesIO()
    torch.save(pack(straight, CheckpointIdentity({}, {})), first)
    torch.save(pack(resumed, CheckpointIdentity({}, {})), second)
    assert first.getvalue() == second.getvalue()


def test_two_optimisers_in_the_loop() -> None:
    """The flow waits through the supervised epoch, has its own rate and clipping, and is read as a term and by its norm."""
    for scaler in (False, True):
        trained = train(learner("alone", scaler=scaler), 2)
        start = toy_method("ddfp").flow.means  # type: ignore[union-attr]
        assert torch.equal(trained.method.flow.means, start)  # type: ignore[union-attr]
        assert set(trained.meter.read(CPU)) == {"loss", "term/x"} | (set() if scaler else {"grad_norm"})
        train(trained, 6)
        assert not torch.equal(trained.method.flow.means, start)  # type: ignore[union-attr]
        readings = trained.meter.read(CPU)
        assert {"term/u", "term/u_pt", "term/flow"} <= set(readings)
        assert ("grad_norm/flow" in readings) == (not scaler)
        (group,) = trained.optimizers[1].param_groups
        assert group["lr"] == pytest.approx(FLOW_GROUP["initial_lr"] * 0.01 ** (2 / 3))


def test_each_optimiser_is_clipped_by_itself() -> None:
    from semiovs.engine.loop import clip_gradients

    trained = learner("alone")
    run(trained.method, toy_batch(trained.method)).terms.objective().backward()
    trained.optimizers[1].param_groups[0]["clip_norm"] = 0.5
    norms = clip_gradients(trained, 0.25)
    assert norms["grad_norm"] > 0.25
    assert norms["grad_norm/flow"] > 0.5
    for part, limit in ((trained.method.student, 0.25), (trained.method.flow, 0.5)):
        left = torch.nn.utils.get_total_norm([p.grad for p in part.parameters() if p.grad is not None])  # type: ignore[union-attr]
        assert float(left) == pytest.approx(limit, rel=1e-4)


def test_bad_options() -> None:
    for options, message in (
        ({"eps": 0.0}, r"method.eps: 0.0 must be above 0"),
        ({"warmup": [1]}, r"method.warmup: \[1\] must be two numbers"),
        ({"teacher": "emma"}, "did you mean 'ema'"),
        ({"ema_decay": None}, "learns from its EMA teacher"),
    ):
        with pytest.raises(UsageError, match=message):
            toy_method("ddfp", **options)
    plain = build_segmenter("deeplabv3plus", num_classes=K, encoder="tiny", channels=16)
    with pytest.raises(UsageError, match=r"set model\.name=deeplabv3plus-dual"):
        build_method("ddfp", plain, num_classes=K)
    odd = build_segmenter("deeplabv3plus-dual", num_classes=K, encoder="tiny", channels=17)
    with pytest.raises(UsageError, match="take an even number"):
        build_method("ddfp", odd, num_classes=K)


def test_one_class_in_the_labels() -> None:
    method = toy_method("ddfp")
    batch = toy_batch(method)
    same = replace(batch, labeled=replace(batch.labeled, mask=torch.zeros_like(batch.labeled.mask)))
    assert run(method, same).terms.objective().isfinite()
