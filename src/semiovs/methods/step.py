"""What goes into a step of a method and what comes out: where training stands, and the loss with its pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from semiovs.methods.maths import Target
from semiovs.methods.terms import Terms


@dataclass(frozen=True)
class Progress:
    """Where training stands; schedules are functions of it.

    seed: of draws that all ranks share, another one each micro-step; None: such draws come from torch's global
    generator.
    """

    step: int
    total_steps: int
    epoch: int = 0
    total_epochs: int = 1
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class SharedPass:
    """Outputs for the OOD images that shared the method's first gradient pass; empty where there were none.

    clean: their logits (B, K, H, W). terms: other logits of theirs, by the term that is made of them, such as ``fp``
    (perturbed features); the OOD stream learns these on the weak view, and every other term on a strong view.
    """

    clean: Tensor | None = None
    terms: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, clean: Sequence[Tensor], **terms: Sequence[Tensor]) -> SharedPass:
        """From what a pass returns for the groups of OOD images: one group of logits each, or none."""
        if not clean:
            return cls()
        return cls(clean[0], {name: logits[0] for name, logits in terms.items()})


@dataclass(frozen=True, eq=False)
class Step:
    """Result of one step.

    terms: the loss; pseudo: the pseudo-labels behind it, by name; log: 0-d tensors to log; shared: outputs for the OOD
    images that shared the first pass.
    """

    terms: Terms
    pseudo: Mapping[str, Target] = field(default_factory=dict)
    log: Mapping[str, Tensor] = field(default_factory=dict)
    shared: SharedPass = field(default_factory=SharedPass)
