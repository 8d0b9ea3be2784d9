"""What goes into a step of a method and what comes out: where training stands, and the loss with its pseudo-labels.

A step may have several gradient passes. The terms of each are learnt as soon as they are known, before the next pass:
so the activations of one pass alone are in memory, and the gradients add up to those of the whole loss.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

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

    clean: their logits (B, K, H, W), which a method may leave out of steps that do not need them. terms: other logits
    of theirs, by the term that is made of them, such as ``fp`` (perturbed features); the OOD stream learns these on the
    weak view, and every other term on a strong view.
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
    """Result of one step, or of one of its gradient passes.

    terms: the loss, of which each pass has a part; pseudo: the pseudo-labels behind it, by name; log: 0-d tensors to
    log; shared: outputs for the OOD images that shared the first pass.
    """

    terms: Terms
    pseudo: Mapping[str, Target] = field(default_factory=dict)
    log: Mapping[str, Tensor] = field(default_factory=dict)
    shared: SharedPass = field(default_factory=SharedPass)

    def join(self, later: Step) -> Step:
        """The step together with one of its later passes."""
        return Step(
            self.terms.join(later.terms), {**self.pseudo, **later.pseudo}, {**self.log, **later.log}, self.shared
        )


#: What `Method.step` returns: a step of one gradient pass; or it is a generator, which yields what it has after each
#: pass, the labels of the weak view (``w``) with the first, and returns what it has after the last one.
Passes = Step | Generator[Step, None, Step]
#: Differentiates a 0-d tensor.
Learn = Callable[[Tensor], None]


def iterate(passes: Passes) -> Iterator[Step]:
    """Each pass of a step in turn, the last one too."""
    if isinstance(passes, Step):
        yield passes
    else:
        last = yield from passes
        yield last


def gather(passes: Passes, learn: Learn | None = None) -> Step:
    """The whole step.

    learn: given the objective (0-d) of each pass but the last, before the next one begins; the terms of the step then
    hold the graph of the last pass alone. None: they hold all.
    """
    if isinstance(passes, Step):
        return passes
    step: Step | None = None
    try:
        while True:
            found = next(passes)
            if learn is not None:
                learn(found.terms.objective())
                found = replace(found, terms=found.terms.detach())
            step = found if step is None else step.join(found)
    except StopIteration as end:
        last: Step = end.value
        return last if step is None else step.join(last)
