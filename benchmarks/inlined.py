"""The loss of each method as one would type it from its paper, in one function: the library is measured against
this.
"""

# ruff: noqa: ARG001 - every formula is given the progress, for those with a schedule

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from semiovs.data import Batch
from semiovs.methods import Method, Progress
from semiovs.models import Segmenter

#: Label, confidence, valid pixels.
Believed = tuple[Tensor, Tensor, Tensor]


def labels_only(method: Method, batch: Batch, progress: Progress) -> Tensor:
    """Not a method's formula: the least that any of them does."""
    return labelled(method.student(batch.labeled.image), batch.labeled.mask)


def supervised(method: Method, batch: Batch, progress: Progress) -> Tensor:
    model, x, o = method.student, batch.labeled, batch.ood
    if method.ood is None or o is None:
        return labelled(model(x.image), x.mask)
    n, tau = len(x.image), float(method.conf_thresh)  # type: ignore[arg-type]
    clean, dropped = perturbed(model, torch.cat((x.image, o.weak)))
    y = given(batch)
    strong = model(torch.cat(o.strong)).chunk(2)
    l_o = 0.25 * masked(strong[0], *y, tau) + 0.25 * masked(strong[1], *y, tau) + 0.5 * masked(dropped[n:], *y, tau)
    return (labelled(clean[:n], x.mask) + l_o) / 2


def fixmatch(method: Method, batch: Batch, progress: Progress) -> Tensor:
    model, x, u, m, o = method.student, batch.labeled, batch.unlabeled, batch.mixing, batch.ood
    assert u is not None
    assert m is not None
    n, tau, inside = len(x.image), float(method.conf_thresh), box(u.boxes[0], u.weak)  # type: ignore[arg-type]
    y_m = judged(model, m.weak, m.valid)
    s = torch.where(inside[:, None], m.strong[0], u.strong[0])
    with_ood = method.ood is not None and o is not None
    groups = (x.image, u.weak, o.weak) if with_ood else (x.image, u.weak)  # type: ignore[union-attr]
    p = model(torch.cat(groups))
    y_w = believed(p[n : n + len(u.weak)].detach(), u.valid)
    p_s = model(s)
    loss = labelled(p[:n], x.mask) + masked(p_s, *mixed(y_w, y_m, inside), tau)
    if not with_ood:
        return loss / 2
    p_o = model(torch.where(inside[:, None], u.strong[0], o.strong[0]))  # type: ignore[union-attr]
    return (loss + masked(p_o, *mixed(given(batch), y_w, inside), tau)) / 3


def unimatch(method: Method, batch: Batch, progress: Progress) -> Tensor:
    terms, _ = unimatch_terms(method, batch)
    return terms / (2 if method.ood is None else 3)


def prevmatch(method: Method, batch: Batch, progress: Progress) -> Tensor:
    """Previous models are run with the student's code and their weights."""
    model, u, m = method.student, batch.unlabeled, batch.mixing
    assert u is not None
    assert m is not None
    previous: Any = method.previous
    terms, (p_s1, p_s2, p_fp) = unimatch_terms(method, batch)
    warm, tau = progress.total_epochs // 2, method.prev_threshold.value
    rise = progress.epoch / warm
    fall = 1 - (progress.epoch - warm) / (progress.total_epochs - warm)
    weight = rise if progress.epoch < warm else fall
    chosen = method.draws.ensemble(len(previous), method.prev_models_max, vary=True, seed=progress.seed)  # type: ignore[arg-type]
    model.eval()
    with torch.no_grad():
        images = torch.cat((u.weak, m.weak))
        votes = [share * functional_call(model, previous.snapshots[i], (images,)) for i, share in chosen]
    model.train()
    p_w, p_m = torch.stack(votes).sum(0).chunk(2)
    y_w, y_m = believed(p_w, u.valid), believed(p_m, m.valid)
    inside = [box(boxes, u.weak) for boxes in u.boxes]
    again = (
        0.25 * masked(p_s1, *mixed(y_w, y_m, inside[0]), tau)
        + 0.25 * masked(p_s2, *mixed(y_w, y_m, inside[1]), tau)
        + 0.50 * masked(p_fp, *y_w, tau)
    )
    return (terms + weight * again) / ((2 if method.ood is None else 3) + weight)


def unimatch_terms(method: Method, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Sum of the weighted terms, with OOD images where the method has them; logits of s1, s2 and of the dropped
    features.
    """
    model, x, u, m, o = method.student, batch.labeled, batch.unlabeled, batch.mixing, batch.ood
    assert u is not None
    assert m is not None
    n, k, tau = len(x.image), len(u.weak), float(method.conf_thresh)  # type: ignore[arg-type]
    inside = [box(boxes, u.weak) for boxes in u.boxes]
    y_m = judged(model, m.weak, m.valid)
    s = [torch.where(b[:, None], other, own) for b, other, own in zip(inside, m.strong, u.strong, strict=True)]
    with_ood = method.ood is not None and o is not None
    groups = (x.image, u.weak, o.weak) if with_ood else (x.image, u.weak)  # type: ignore[union-attr]
    clean, dropped = perturbed(model, torch.cat(groups))
    p_s1, p_s2 = model(torch.cat(s)).chunk(2)
    p_fp, y_w = dropped[n : n + k], believed(clean[n : n + k].detach(), u.valid)
    loss = (
        labelled(clean[:n], x.mask)
        + 0.25 * masked(p_s1, *mixed(y_w, y_m, inside[0]), tau)
        + 0.25 * masked(p_s2, *mixed(y_w, y_m, inside[1]), tau)
        + 0.50 * masked(p_fp, *y_w, tau)
    )
    if with_ood:
        loss = loss + foreign(model, batch, y_w, inside, dropped[n + k :], tau)
    return loss, (p_s1, p_s2, p_fp)


def foreign(
    model: Segmenter, batch: Batch, y_w: Believed, inside: Sequence[Tensor], p_fp: Tensor, tau: float
) -> Tensor:
    """Terms of the OOD images: strong views with patches of the un-mixed views, and perturbed features."""
    u, o, y_o = batch.unlabeled, batch.ood, given(batch)
    assert u is not None
    assert o is not None
    strong = [torch.where(b[:, None], own, other) for b, own, other in zip(inside, u.strong, o.strong, strict=True)]
    p_o1, p_o2 = model(torch.cat(strong)).chunk(2)
    return (
        0.25 * masked(p_o1, *mixed(y_o, y_w, inside[0]), tau)
        + 0.25 * masked(p_o2, *mixed(y_o, y_w, inside[1]), tau)
        + 0.50 * masked(p_fp, *y_o, tau)
    )


def semivl(method: Method, batch: Batch, progress: Progress) -> Tensor:
    """What is not learnt from is encoded with the rest, and decoded without gradient or not at all."""
    model, x, u, m, o = method.student, batch.labeled, batch.unlabeled, batch.mixing, batch.ood
    assert u is not None
    assert m is not None
    n, k, tau = len(x.image), len(u.weak), float(method.conf_thresh)  # type: ignore[arg-type]
    size = (u.weak.shape[-2], u.weak.shape[-1])
    inside = [box(boxes, u.weak) for boxes in u.boxes]
    y_m = judged(model, m.weak, m.valid)
    s = [torch.where(b[:, None], other, own) for b, other, own in zip(inside, m.strong, u.strong, strict=True)]
    with_ood = method.ood is not None and o is not None
    groups = (x.image, u.weak, o.weak) if with_ood else (x.image, u.weak)  # type: ignore[union-attr]
    features = model.encode(torch.cat(groups))
    dropped = tuple(F.dropout2d(f, 0.5, training=True) for f in features)
    p_x = model.decode(tuple(f[:n] for f in features), size)
    p_fp = model.decode(tuple(f[n : n + k] for f in dropped), size)
    with torch.no_grad():
        y_w = believed(model.decode(tuple(f[n : n + k] for f in features), size), u.valid)
    p_s1, p_s2 = model(torch.cat(s)).chunk(2)
    loss = (
        labelled(p_x, x.mask)
        + 0.25 * masked(p_s1, *mixed(y_w, y_m, inside[0]), tau)
        + 0.25 * masked(p_s2, *mixed(y_w, y_m, inside[1]), tau)
        + 0.50 * masked(p_fp, *y_w, tau)
    )
    if with_ood:
        p_o = model.decode(tuple(f[n + k :] for f in dropped), size)
        loss = loss + foreign(model, batch, y_w, inside, p_o, tau)
    g_w, g_m = (guided(method, view.weak, view.valid) for view in (u, m))
    guidance = (
        0.25 * followed(p_s1, mixed(g_w, g_m, inside[0]))
        + 0.25 * followed(p_s2, mixed(g_w, g_m, inside[1]))
        + 0.50 * followed(p_fp, g_w)
    )
    done = progress.step / progress.total_steps
    first, last = method.guidance  # type: ignore[misc]
    return loss / (3 if with_ood else 2) + (first * (1 - done) + last * done) * guidance


def guided(method: Method, images: Tensor, valid: Tensor) -> Believed:
    """The frozen guide's labels, valid where it is sure."""
    with torch.no_grad():
        label, confidence, _ = believed(method.guide(images), valid)  # type: ignore[operator]
    return label, confidence, valid & (confidence >= method.guide_thresh)


def followed(logits: Tensor, target: Believed) -> Tensor:
    """A mean over all pixels, valid or not."""
    return (F.cross_entropy(logits, target[0], reduction="none") * target[2]).mean()


def unimatch_v2(method: Method, batch: Batch, progress: Progress) -> Tensor:
    model, x, u, o, teacher = method.student, batch.labeled, batch.unlabeled, batch.ood, method.ema
    assert u is not None
    assert teacher is not None
    tau = float(method.conf_thresh)  # type: ignore[arg-type]
    inside = [box(boxes, u.weak) for boxes in u.boxes]
    with torch.no_grad():
        y_w = believed(teacher(u.weak), u.valid)
    y_m = (y_w[0].flip(0), y_w[1].flip(0), y_w[2].flip(0))
    s = [torch.where(b[:, None], own.flip(0), own) for b, own in zip(inside, u.strong, strict=True)]
    p_x = model(x.image)
    p_s1, p_s2 = complementary(model, torch.cat(s))
    l_s1, l_s2 = (masked(p, *mixed(y_w, y_m, b), tau) for p, b in ((p_s1, inside[0]), (p_s2, inside[1])))
    loss = labelled(p_x, x.mask) + 0.5 * l_s1 + 0.5 * l_s2
    if method.ood is None or o is None:
        return loss / 2
    y_o = given(batch)
    s_o = [torch.where(b[:, None], own, other) for b, own, other in zip(inside, u.strong, o.strong, strict=True)]
    p_o1, p_o2 = complementary(model, torch.cat(s_o))
    l_o1, l_o2 = (masked(p, *mixed(y_o, y_w, b), tau) for p, b in ((p_o1, inside[0]), (p_o2, inside[1])))
    return (loss + 0.5 * l_o1 + 0.5 * l_o2) / 3


def labelled(logits: Tensor, mask: Tensor) -> Tensor:
    return F.cross_entropy(logits, mask, ignore_index=255)


def masked(logits: Tensor, label: Tensor, confidence: Tensor, valid: Tensor, tau: float) -> Tensor:
    loss = F.cross_entropy(logits, label, reduction="none")
    return (loss * ((confidence >= tau) & valid)).sum() / valid.sum().clamp(min=1)


def believed(logits: Tensor, valid: Tensor) -> Believed:
    confidence, label = logits.softmax(dim=1).max(dim=1)
    return label, confidence, valid


def judged(model: Segmenter, images: Tensor, valid: Tensor) -> Believed:
    model.eval()
    with torch.no_grad():
        found = believed(model(images), valid)
    model.train()
    return found


def given(batch: Batch) -> Believed:
    """The open-vocabulary model's labels, with confidence 1 as published."""
    assert batch.ood is not None
    o = batch.ood
    return o.label.where(o.valid, 0), torch.ones_like(o.confidence), o.valid


def perturbed(model: Segmenter, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of clean and of channel-dropped features, decoded together."""
    features = model.encode(images)
    both = tuple(torch.cat((f, F.dropout2d(f, 0.5, training=True))) for f in features)
    clean, dropped = model.decode(both, (images.shape[-2], images.shape[-1])).chunk(2)
    return clean, dropped


def complementary(model: Segmenter, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of two views, each with the channels that the other lacks; half of the samples keep all."""
    features, n = model.encode(images), len(images) // 2
    whole = torch.randperm(n, device=images.device)[:, None] < n // 2
    m1 = (2.0 * (torch.rand(n, features[0].shape[1], device=images.device) < 0.5)).masked_fill(whole, 1.0)
    mask = torch.cat((m1, 2 - m1))[:, :, None, None]
    first, second = model.decode(tuple(f * mask for f in features), (images.shape[-2], images.shape[-1])).chunk(2)
    return first, second


def box(boxes: Tensor, like: Tensor) -> Tensor:
    """(B, 4) -> (B, H, W), True inside."""
    y, x = (torch.arange(side, device=boxes.device) for side in like.shape[-2:])
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
    return (x >= x0) & (x < x1) & (y[:, None] >= y0) & (y[:, None] < y1)


def mixed(a: Believed, b: Believed, inside: Tensor) -> Believed:
    label, confidence, valid = (torch.where(inside, second, first) for first, second in zip(a, b, strict=True))
    return label, confidence, valid
