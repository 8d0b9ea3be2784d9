"""SemiVL: UniMatch on CLIP; a frozen copy of CLIP, the guide, labels the unlabelled images too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.data import Batch
from semiovs.errors import UsageError
from semiovs.methods.base import Method
from semiovs.methods.maths import Target, paste, to_float32
from semiovs.methods.step import Passes, Progress, SharedPass, Step
from semiovs.methods.student import segment
from semiovs.methods.terms import Terms
from semiovs.models.segmenter import Segmenter
from semiovs.models.semivl.segmenter import SemiVLSegmenter
from semiovs.models.semivl.text import check_asked
from semiovs.vocab.vocabulary import Vocabulary

#: Steps from one decoding of clean OOD images to the next, where they are decoded for a reading alone.
READ_EVERY = 4


class SemiVL(Method):
    """L = (CE(x) + ¼ L_s1 + ¼ L_s2 + ½ L_fp) / 2 + λ_t (¼ G_s1 + ¼ G_s2 + ½ G_fp).

    Hoyer et al. 2024; SemiVL spec, section 7.

    G is the cross-entropy with the labels of the frozen guide where its confidence reaches `guide_thresh`, a mean over
    *all* pixels.

    guidance: λ_t at the first and after the last step, linear between; (0, 0): there is no guide. guide_asked: the
    guide is asked for each concept of a class (the best one counts) or for its name; guide_embeddings: a .npy file with
    a row a concept.
    """

    consistency = {"s1": 0.25, "s2": 0.25, "fp": 0.5}
    strong = 2
    ood_weight = 0.5
    student: SemiVLSegmenter

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        guidance: Sequence[float] = (0.1, 0.0),
        guide_thresh: float = 0.9,
        guide_asked: str = "concepts",
        guide_embeddings: str | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(segmenter, SemiVLSegmenter):
            raise UsageError("method semivl needs a student that is asked with words: set model.name=semivl")
        check_asked(guide_asked, ("concepts", "names"), "method.guide_asked")
        if len(guidance) != 2 or min(guidance) < 0:
            raise UsageError(f"method.guidance: {list(guidance)} must be two weights, not negative, like [0.1, 0.0]")
        super().__init__(segmenter, **options)
        self.guidance, self.guide_thresh = tuple(guidance), guide_thresh
        self.guide_asked, self.guide_embeddings = guide_asked, guide_embeddings
        self.guide = segmenter.guide() if any(guidance) else None

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Passes:
        """Label the CutMix partners, then learn from weak, perturbed and strong views, and from the guide."""
        x, (u, m), τ = batch.labeled, batch.pair(), self.threshold
        box1, box2 = u.boxes
        s1, s2 = (paste(s, s_m, box) for s, s_m, box in zip(u.strong, m.strong, u.boxes, strict=True))

        y_m = self.pseudo_label(m.weak, m.valid)
        g_w = g_m = None
        if self.guide is not None:
            g_w, g_m = self.guide_labels(u.weak, u.valid), self.guide_labels(m.weak, m.valid)
        λ = self.guidance_weight(progress)

        due = progress.step % READ_EVERY == READ_EVERY - 1
        read = due or (self.ood is not None and self.ood.mode == "naive")
        p_x, p_w, p_fp, shared = self.weak_pass(x.image, u.weak, *ood_images, read=read)
        y_w = self.pseudo_label(u.weak, u.valid, p_w)
        terms = {
            "x": (1.0, self.criterion(p_x, x.mask)),
            "fp": (0.50, y_w.loss(p_fp, τ)),
        }
        pseudo, extras, log = {"w": y_w, "w_mix": y_m}, {}, {"mask_ratio": y_w.ratio(τ)}
        if g_w is not None and g_m is not None:
            extras = {"mc_fp": (0.50 * λ, guidance_loss(p_fp, g_w))}
            pseudo |= {"guide_w": g_w, "guide_w_mix": g_m}
            log["guide_ratio"] = g_w.valid.float().mean()
        yield Step(Terms.part(terms, 2.0, extras), pseudo=pseudo, log=log, shared=shared)

        p_s1, p_s2 = segment(self.student, s1, s2)
        y_s1, y_s2 = y_w.mix(y_m, box1), y_w.mix(y_m, box2)
        terms = {
            "s1": (0.25, y_s1.loss(p_s1, τ)),
            "s2": (0.25, y_s2.loss(p_s2, τ)),
        }
        if g_w is not None and g_m is not None:
            extras = {
                "mc_s1": (0.25 * λ, guidance_loss(p_s1, g_w.mix(g_m, box1))),
                "mc_s2": (0.25 * λ, guidance_loss(p_s2, g_w.mix(g_m, box2))),
            }
        return Step(Terms.part(terms, 2.0, extras), pseudo={"s1": y_s1, "s2": y_s2})

    def weak_pass(
        self, x: Tensor, w: Tensor, *ood_images: Tensor, read: bool = True
    ) -> tuple[Tensor, Tensor, Tensor, SharedPass]:
        """One encoding -> clean logits of x, of w (no gradient), perturbed logits of w, and those of the OOD images.

        Nothing in the decoder ties one image to another, so what is not learnt from is not decoded, or without
        gradient. What the student says of the clean OOD images it needs where it labels them itself; else that is but
        a reading, and taken every `READ_EVERY`-th step.
        """
        size = (w.shape[-2], w.shape[-1])
        counts = [len(group) for group in (x, w, *ood_images)]
        clean = self.student.encode(torch.cat([x, w, *ood_images]))
        perturbed = self.draws.channel_dropout(clean)
        f_x, *f_bare = zip(*(torch.split(maps, counts) for maps in clean), strict=True)
        _, *f_fp = zip(*(torch.split(maps, counts) for maps in perturbed), strict=True)

        p_x = self.student.decode(f_x, size)
        p_fp = [self.student.decode(maps, size) for maps in f_fp]
        with torch.no_grad():
            p_w = [self.student.decode(maps, size) for maps in (f_bare if read else f_bare[:1])]
        shared = {"fp": p_fp[1]} if ood_images else {}
        return p_x, p_w[0], p_fp[0], SharedPass(p_w[1] if ood_images and read else None, shared)

    def guidance_weight(self, progress: Progress) -> float:
        """λ_t, linear from the first to the last value of `guidance`."""
        first, last = self.guidance
        done = progress.step / progress.total_steps
        return first * (1 - done) + last * done

    @torch.no_grad()
    def guide_labels(self, image: Tensor, valid: Tensor) -> Target:
        """Labels of the guide, valid where its confidence reaches `guide_thresh`."""
        assert self.guide is not None
        if not self.guide.told and self.student.vocabulary is not None:  # prompted after the method was built
            with torch.random.fork_rng(devices=()):  # a text encoder is built, and the draws of the step stay
                self.prompt(self.student.vocabulary)
        found = Target.from_logits(self.guide(image), valid)
        return replace(found, valid=valid & (found.confidence >= self.guide_thresh))

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the class names in the student and in the guide."""
        super().prompt(vocabulary)
        if self.guide is not None:
            self.guide.tell(
                *self.student.texts.concepts(
                    vocabulary, self.guide_asked, self.guide_embeddings, option="method.guide_embeddings"
                )
            )


def guidance_loss(logits: Tensor, target: Target) -> Tensor:
    """G: Σ [valid] CE(logits, ŷ) over the number of all pixels, valid or not, 0-d."""
    loss = F.cross_entropy(to_float32(logits), target.label, reduction="none")
    return (loss * target.valid).sum() / target.valid.numel()
