"""UniMatch V2's step against its formula written out plainly, pixel by pixel; its dropout, teacher and OOD stream."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contract.toy import ARMS, K, toy_batch
from semiovs.config.schema import OptimConfig
from semiovs.data import Batch, take_mirrored
from semiovs.errors import UsageError
from semiovs.methods import Method, Progress, Step, build_method
from semiovs.methods.draws import Draws
from semiovs.models import build_segmenter

SIZE = 33
TAU = 0.3
PROGRESS = Progress(3, 10)


class FixedDraws(Draws):
    """One mask for all passes: channels with an odd number to the first view, the others to the second; sample 1
    whole.
    """

    @staticmethod
    def masks(samples: int, channels: int) -> tuple[Tensor, Tensor]:
        m1 = (2.0 * (torch.arange(channels) % 2)).repeat(samples, 1)
        m1[1] = 1.0
        return m1, 2 - m1

    def complementary_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        masks = [torch.cat(self.masks(len(f) // 2, f.shape[1])) for f in features]
        return tuple(f * m[:, :, None, None] for f, m in zip(features, masks, strict=True))


def v2(
    name: str = "unimatch-v2", ood: dict[str, Any] | None = None, *, seed: int = 0, locked: bool = False, **options: Any
):
    torch.manual_seed(seed)
    segmenter = build_segmenter("dpt", num_classes=K, encoder="test_vit", channels=16, locked=locked)
    return build_method(name, segmenter, num_classes=K, ood=ood, **{"conf_thresh": TAU, **options}).train()


def parted(method: Method) -> Method:
    """The method with a teacher that is not its student."""
    assert method.ema is not None
    with torch.no_grad():
        for p in method.ema.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    return method


def run(method: Method, batch: Batch) -> Step:
    torch.manual_seed(5)
    return method(batch, PROGRESS)


# --- the formula, plainly -------------------------------------------------------------------------------------------


def cut(a: Tensor, b: Tensor, boxes: Tensor) -> Tensor:
    out = a.clone()
    for i, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        out[i, ..., y0:y1, x0:x1] = b[i, ..., y0:y1, x0:x1]
    return out


def plain_strong(student: Any, s1: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
    """Each view alone through the student, its own mask on all four levels."""
    logits = []
    for view, mask in zip((s1, s2), FixedDraws.masks(len(s1), 64), strict=True):
        logits.append(student.decode(tuple(f * mask[:, :, None, None] for f in student.encode(view)), (SIZE, SIZE)))
    return logits[0], logits[1]


def plain_loss(logits: Tensor, label: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
    total, count = torch.zeros(()), 0
    for i, y, x in valid.nonzero().tolist():
        count += 1
        if confidence[i, y, x] >= TAU:
            total = total - logits[i, :, y, x].log_softmax(dim=0)[label[i, y, x]]
    return total / count


def plain_terms(method: Method, batch: Batch) -> dict[str, Tensor]:
    """(name -> value) of the step on images whose partners are those of the batch from its end, with the OOD terms."""
    u, x, o = batch.unlabeled, batch.labeled, batch.ood
    assert u is not None
    assert method.ema is not None
    with torch.no_grad():
        p_w = torch.cat([method.ema(image[None]) for image in u.weak]).softmax(dim=1)
    confidence, label = p_w.amax(dim=1), p_w.argmax(dim=1)
    partner = list(range(len(u.weak)))[::-1]
    views = [cut(s, s[partner], box) for s, box in zip(u.strong, u.boxes, strict=True)]
    targets = [[cut(t, t[partner], box) for t in (label, confidence, u.valid)] for box in u.boxes]
    logits = plain_strong(method.student, views[0], views[1])
    labelled = x.mask != 255
    certain = torch.ones_like(x.mask, dtype=torch.float32)
    terms = {"x": plain_loss(method.student(x.image), x.mask, certain, labelled)}
    terms |= {f"s{n + 1}": plain_loss(logits[n], *targets[n]) for n in range(2)}
    if o is not None:
        given = [o.label.where(o.valid, torch.tensor(0)), torch.ones_like(confidence), o.valid]
        views = [cut(a, b, box) for a, b, box in zip(o.strong, u.strong, u.boxes, strict=True)]
        pairs = list(zip(given, (label, confidence, u.valid), strict=True))
        targets = [[cut(a, b, box) for a, b in pairs] for box in u.boxes]
        logits = plain_strong(method.student, views[0], views[1])
        terms |= {f"ood_s{n + 1}": plain_loss(logits[n], *targets[n]) for n in range(2)}
    return terms


@pytest.mark.parametrize(("ood", "weights", "normaliser"), [
    (None, {"x": 1.0, "s1": 0.5, "s2": 0.5}, 2.0),
    ({"weight": 0.6}, {"x": 1.0, "s1": 0.5, "s2": 0.5, "ood_s1": 0.3, "ood_s2": 0.3}, 2.6),
])  # fmt: skip
def test_the_step_is_the_formula(ood: Any, weights: dict[str, float], normaliser: float) -> None:
    method = parted(v2(ood=ood))
    method.draws = FixedDraws()
    batch = toy_batch(method, size=SIZE, count=4)
    step = run(method, batch)
    expected = plain_terms(method, batch)
    assert {name: weight for name, (weight, _) in step.terms.items()} == pytest.approx(weights)
    for name, value in expected.items():
        torch.testing.assert_close(step.terms[name].value, value, rtol=1e-4, atol=1e-5)
    loss = sum(weights[name] * value for name, value in expected.items()) / normaliser
    torch.testing.assert_close(step.terms.total(), loss, rtol=1e-4, atol=1e-5)
    assert step.terms.normaliser == pytest.approx(normaliser)

    step.terms.total().backward()
    ours = {name: p.grad for name, p in method.student.named_parameters()}
    method.zero_grad()
    loss.backward()  # type: ignore[union-attr]
    for name, p in method.student.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_passes_of_a_step() -> None:
    """The student sees x, both mixed views in one pass, and both OOD views in one; never a weak view."""
    method = v2(ood=ARMS["ovs"])
    batch = toy_batch(method, size=SIZE, count=2)
    assert batch.mixing is None
    passes: list[Tensor] = []
    encode = method.student.encode
    method.student.encode = lambda image: passes.append(image) or encode(image)  # type: ignore[method-assign, func-returns-value]
    run(method, batch)
    assert [len(images) for images in passes] == [2, 4, 4]
    assert batch.unlabeled is not None
    weak = [batch.unlabeled.weak, batch.ood.weak]  # type: ignore[union-attr]
    assert not any(image.equal(w) for images in passes for image in images for group in weak for w in group)


def test_partners_given_by_the_batch_are_used() -> None:
    method = parted(v2())
    batch = toy_batch(method, size=SIZE, count=4)
    assert batch.unlabeled is not None
    given = replace(batch, mixing=batch.unlabeled.map(take_mirrored))
    torch.testing.assert_close(run(method, given).terms.total(), run(method, batch).terms.total())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_partners_are_the_batch_backwards_and_never_the_image_itself(count: int) -> None:
    partners = take_mirrored(torch.arange(count)).tolist()
    backwards = list(range(count))[::-1]
    assert [a == b for a, b in zip(partners, backwards, strict=True)].count(False) == (count % 2 and count > 1)
    assert count == 1 or all(partner != image for image, partner in enumerate(partners))


# --- complementary dropout ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "whole"), [(1, 0), (2, 1), (5, 2), (8, 4)])
def test_complementary_dropout(samples: int, whole: int) -> None:
    torch.manual_seed(samples)
    features = tuple(torch.rand(2 * samples, 64, 3, 2) + 0.1 for _ in range(4))
    dropped = Draws().complementary_dropout(features)
    masks = dropped[0] / features[0]
    for feature, result in zip(features, dropped, strict=True):
        torch.testing.assert_close(result / feature, masks)  # the same on every level
    torch.testing.assert_close(masks, masks[:, :, :1, :1].expand_as(masks))  # whole channels
    m1, m2 = masks[:, :, 0, 0].round().chunk(2)
    assert (m1 + m2).eq(2).all()
    assert m1.eq(1).all(dim=1).sum() == whole
    rest = m1[~m1.eq(1).all(dim=1)]
    assert set(rest.unique().tolist()) == {0.0, 2.0}


def test_complementary_dropout_drops_half_and_another_half_each_time() -> None:
    torch.manual_seed(0)
    ones = (torch.ones(64, 256, 1, 1),)
    first, second = (Draws().complementary_dropout(ones)[0][:32, :, 0, 0] for _ in range(2))
    kept = first[~first.eq(1).all(dim=1)]
    assert len(kept) == 16
    assert kept.eq(2).float().mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / kept.numel()))
    assert not first.equal(second)


def test_maps_of_other_channels_have_masks_of_their_own() -> None:
    """A CNN's low and high map: complementary each, the same samples whole on both."""
    torch.manual_seed(1)
    low, high = Draws().complementary_dropout((torch.ones(8, 24, 4, 4), torch.ones(8, 64, 2, 2)))
    (low1, low2), (high1, high2) = low[:, :, 0, 0].chunk(2), high[:, :, 0, 0].chunk(2)
    assert (low1 + low2).eq(2).all()
    assert (high1 + high2).eq(2).all()
    assert low1.eq(1).all(dim=1).equal(high1.eq(1).all(dim=1))
    assert not low1.eq(high1[:, :24]).all()


# --- teacher, options, other methods on the same model ---------------------------------------------------------------


def test_the_teacher_is_always_there_and_labels() -> None:
    method = v2()
    assert method.ema_decay == 0.996
    assert set(method.models()) == {"student", "ema"}
    with pytest.raises(UsageError, match=r"method\.ema_decay: unimatch-v2 learns from its EMA teacher"):
        v2(ema_decay=None)
    batch = toy_batch(method, size=SIZE)
    before = run(method, batch).pseudo["w"]
    with torch.no_grad():
        for p in method.student.parameters():
            p += 0.3 * torch.randn_like(p)
    after = run(method, batch).pseudo["w"]
    assert before.confidence.equal(after.confidence)  # the student has changed, its teacher has not
    method.after_step(Progress(0, 10))
    assert all(a.equal(b) for a, b in zip(method.ema.parameters(), method.student.parameters(), strict=True))
    assert not run(method, batch).pseudo["w"].confidence.equal(before.confidence)


def test_naive_ood_labels_are_the_teacher_s() -> None:
    method = parted(v2(ood=ARMS["naive"]))
    batch = toy_batch(method, size=SIZE)
    assert method.ema is not None
    assert batch.ood is not None
    with torch.no_grad():
        expected = method.ema(batch.ood.weak).argmax(dim=1)
    assert run(method, batch).pseudo["ood"].label.equal(expected)


def test_fixmatch_in_one_pass() -> None:
    """(CE(x) + L_s) / 2 with x and s in one forward and w labelled by the teacher; on a ViT the value is that of two
    passes.
    """
    one, two = (parted(v2("fixmatch", ema_decay=0.996, one_pass=flag)) for flag in (True, False))
    batch = toy_batch(one, size=SIZE)
    sizes: list[int] = []
    encode = one.student.encode
    one.student.encode = lambda image: sizes.append(len(image)) or encode(image)  # type: ignore[method-assign, func-returns-value]
    ours, reference = run(one, batch), run(two, batch)
    assert sizes == [4]
    torch.testing.assert_close(ours.terms.total(), reference.terms.total())
    assert ours.terms.normaliser == 2.0


@pytest.mark.parametrize("arm", list(ARMS))
@pytest.mark.parametrize("name", ["supervised", "fixmatch", "unimatch", "unimatch-v2"])
def test_every_method_learns_on_dpt(name: str, arm: str) -> None:
    method = v2(name, ARMS[arm])
    step = run(method, toy_batch(method, size=SIZE))
    step.terms.total().backward()
    gradients = {key: p.grad for key, p in method.student.named_parameters()}
    assert len(gradients) > 10
    assert [key for key, grad in gradients.items() if grad is None or not torch.isfinite(grad).all()] == []


@pytest.mark.parametrize("locked", [False, True])
def test_resumes_bit_for_bit(locked: bool) -> None:
    def build(seed: int) -> tuple[Method, torch.optim.Optimizer]:
        method = v2(ood=ARMS["ovs"], seed=seed, locked=locked)
        config = OptimConfig(name="adamw", lr=1e-3, head_lr_multiplier=2, layer_decay=0.8)
        return method, method.optimizers(config)[0]

    def advance(method: Method, optimizer: torch.optim.Optimizer, number: int) -> None:
        optimizer.zero_grad()
        torch.manual_seed(number)
        method(toy_batch(method, size=SIZE, seed=number), Progress(number, 10)).terms.total().backward()
        optimizer.step()
        method.after_step(Progress(number, 10))

    straight, optimizer = build(0)
    start = copy.deepcopy(straight.student.backbone.state_dict())
    advance(straight, optimizer, 1)
    file = io.BytesIO()
    torch.save({"method": straight.state_dict(), "optimizer": optimizer.state_dict()}, file)
    advance(straight, optimizer, 2)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed, other = build(9)
    resumed.load_state_dict(saved["method"])
    other.load_state_dict(saved["optimizer"])
    advance(resumed, other, 2)
    assert all(value.equal(resumed.state_dict()[key]) for key, value in straight.state_dict().items())
    same = all(value.equal(start[key]) for key, value in straight.student.backbone.state_dict().items())
    assert same == locked
