"""SED's training: binary cross-entropy of every pixel and concept, on the result and on the three auxiliary heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.config.schema import OptimConfig
from semiovs.data import Batch
from semiovs.errors import UsageError, did_you_mean
from semiovs.images.conventions import IGNORE
from semiovs.methods.base import Method
from semiovs.methods.maths import denominator, to_float32
from semiovs.methods.ood import OodStream
from semiovs.methods.step import Progress, Step
from semiovs.methods.terms import Terms
from semiovs.models.sed.segmenter import SedSegmenter
from semiovs.models.segmenter import Segmenter
from semiovs.models.text.words import words_of
from semiovs.vocab.rules import require_words
from semiovs.vocab.vocabulary import Vocabulary

#: What becomes of unlabelled pixels: they do not count, or count as none of the classes (as in the reference).
IGNORE_MODES = ("mask", "negative")
#: Target of a labelled pixel whose class is not among those asked for.
NONE = -1
_UNDECAYED = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.Embedding)


class Sed(Method):
    """L = BCE(x) + BCE(x0) + BCE(x1) + BCE(x2) on the labelled images (SED spec, section 7).

    Each is a mean over pixels and classes. A class with several concepts is asked as a whole: its logit is that of its
    best concept, as at inference, so that a "background" need not be all its concepts at once.

    nested: a name is true of a pixel if all its words are in the name of the pixel's class: a "red brick" is also a
    "brick". ignore: mask or negative (`IGNORE_MODES`); sample: questions in each step, those with a yes in the batch
    first, the rest at random; None: all. With a hundred names, some sixteen a step train as well for a fraction of the
    price. locked: the image and text towers stay as they are (BatchNorm too), and the comparison alone learns: for
    towers that were brought together before.
    """

    consistency = {}
    strong = 0
    reads_unlabeled = False
    student: SedSegmenter

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        num_classes: int,
        ood: OodStream | None = None,
        nested: bool = False,
        ignore: str = "mask",
        sample: int | None = None,
        locked: bool = False,
        ema_decay: float | None = None,
        normalise: str = "rank",
    ) -> None:
        if not isinstance(segmenter, SedSegmenter):
            raise UsageError("method sed trains an open-vocabulary teacher: set model.name=sed")
        if ood is not None:
            raise UsageError("method sed learns from labelled images alone: take the ood section out")
        if ignore not in IGNORE_MODES:
            raise UsageError(f"method.ignore: '{ignore}' is not known{did_you_mean(ignore, IGNORE_MODES)}")
        if sample is not None and sample < 1:
            raise UsageError(f"method.sample: {sample} must be at least 1, or null for all classes")
        super().__init__(segmenter, num_classes=num_classes, ema_decay=ema_decay, normalise=normalise)
        self.nested, self.ignore, self.sample = nested, ignore, sample
        self._locked = [tower for tower in segmenter.towers if locked]
        for tower in self._locked:
            tower.requires_grad_(False)

    def train(self, mode: bool = True) -> Sed:
        """Set the training mode; locked towers stay in evaluation mode."""
        super().train(mode)
        for tower in self._locked:
            tower.eval()
        return self

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the class names; placeholders such as ``class_3`` teach no words.

        Raises:
            ConfigError: there are some.
        """
        require_words(vocabulary.prompts)
        super().prompt(vocabulary)

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Step:
        """One pass over the labelled images."""
        x = batch.labeled
        chosen, loss = self.names(x.mask) if self.nested else self.classes(x.mask)
        p_x, *p_early = self.student.heads(x.image, chosen)
        terms = {"x": (1.0, loss(p_x))}
        terms |= {f"x{i}": (1.0, loss(p)) for i, p in enumerate(p_early)}
        return Step(Terms(terms))

    def classes(self, mask: Tensor) -> tuple[Tensor | None, Callable[[Tensor], Tensor]]:
        """Ids of the classes that are asked for (None: all), and the loss of their logits: a pixel is of one class."""
        if self.sample is None or self.sample >= self.student.num_classes:
            return None, partial(self.loss, target=mask)
        chosen, target = self.sample_classes(mask, self.sample)
        return chosen, partial(self.loss, target=target)

    def names(self, mask: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Ids of the classes whose names are asked for, and the loss of their logits: a pixel may have many names."""
        vocabulary = self.student.vocabulary
        if vocabulary is None or len(vocabulary.prompts) != len(vocabulary):
            raise UsageError("method.nested: needs a vocabulary with one concept a class")
        true = nesting(vocabulary.prompts, mask.device)
        chosen = self.draws.classes((true & _seen(mask)).any(dim=1), min(self.sample or len(true), len(true)))
        yes = true[chosen][:, mask].transpose(0, 1)
        return chosen, partial(self.loss_of_names, yes=yes, labelled=mask != IGNORE)

    def sample_classes(self, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Mask (B, H, W) -> ids of the classes to ask for (count,), their positions (B, H, W), `NONE` or `IGNORE`."""
        vocabulary, classes = self.student.vocabulary, self.student.num_classes
        if vocabulary is not None and len(vocabulary.prompts) != classes:
            raise UsageError(
                "method.sample needs classes of one concept each; set it to null, or make each concept a class"
            )
        chosen = self.draws.classes(_seen(mask)[:classes], count)
        position = torch.full((IGNORE + 1,), NONE, dtype=mask.dtype, device=mask.device)
        position[chosen] = torch.arange(count, dtype=mask.dtype, device=mask.device)
        position[IGNORE] = IGNORE
        return chosen, position[mask]

    def loss_of_names(self, logits: Tensor, yes: Tensor, labelled: Tensor) -> Tensor:
        """As `loss`, with any number of right answers per pixel: yes (B, Q, H, W) bool, labelled (B, H, W) bool."""
        z = to_float32(F.interpolate(logits, size=yes.shape[2:], mode="bilinear", align_corners=False))
        pixels = (F.softplus(z) - z * yes).sum(dim=1)
        counted = labelled if self.ignore == "mask" else torch.ones_like(labelled)
        return (pixels * counted).sum() / denominator(counted.sum() * logits.shape[1], self.pooled)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (B, K, h, w), resized to the target's (B, H, W) -> mean binary cross-entropy, 0-d.

        BCE(z, y) = softplus(z) - y·z; y is 1 for the pixel's class alone, so that no one-hot volume is needed.
        """
        z = to_float32(F.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False))
        labelled = target != IGNORE
        positive = labelled & (target != NONE)
        own = z.gather(1, target.where(positive, 0)[:, None])[:, 0]
        pixels = F.softplus(z).sum(dim=1) - own * positive
        counted = labelled if self.ignore == "mask" else torch.ones_like(labelled)
        return (pixels * counted).sum() / denominator(counted.sum() * logits.shape[1], self.pooled)

    def parameter_groups(self, config: OptimConfig, *, lr_scale: float = 1.0) -> list[dict[str, Any]]:
        """As `Method.parameter_groups`, without weight decay on normalisation layers and embeddings.

        The norm of the aggregator's ConvNeXt blocks is decayed all the same, as in the reference.
        """
        free = {
            id(parameter)
            for name, module in self.named_modules()
            if isinstance(module, _UNDECAYED) and not name.endswith("cnext.norm")
            for parameter in module.parameters(recurse=False)
        }
        groups = super().parameter_groups(config, lr_scale=lr_scale)
        decayed = [{**g, "params": [p for p in g["params"] if id(p) not in free]} for g in groups]
        bare = [{**g, "params": [p for p in g["params"] if id(p) in free], "weight_decay": 0.0} for g in groups]
        return [*decayed, *({**g, "name": f"{g['name']} norms"} for g in bare)]


@lru_cache(maxsize=4)
def nesting(names: tuple[str, ...], device: torch.device | str = "cpu") -> Tensor:
    """Which names hold for which mask values: (K, 256) bool; for a class, every name whose words are all in its own."""
    words = [frozenset(words_of(name)) for name in names]
    true = torch.zeros(len(names), IGNORE + 1, dtype=torch.bool)
    for name, own in enumerate(words):
        for label, others in enumerate(words):
            true[name, label] = own <= others
    return true.to(device)


def _seen(mask: Tensor) -> Tensor:
    """Values that occur in a mask: (256,) bool."""
    seen = torch.zeros(IGNORE + 1, dtype=torch.bool, device=mask.device)
    seen[mask.flatten()] = True
    return seen
