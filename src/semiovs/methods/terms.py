"""The paper's loss as data: named, weighted terms, a normaliser, and extras that are not normalised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Term(NamedTuple):
    """One summand: its weight (a number, or a tensor for a schedule) and its value (0-d tensor)."""

    weight: float | Tensor
    value: Tensor


class Terms(Mapping[str, Term]):
    """name -> (weight, value). `total()` is the loss: Σ weight·value / normaliser + Σ extra weight·value.

    apart: values that the loss does not hold, of modules with an optimiser of their own (DDFP's flow); listed with
    weight 0. whole: the weights of all passes of the step together; None: these are all.
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[float | Tensor, Tensor]],
        *,
        normaliser: float | Tensor = 1.0,
        extras: Mapping[str, tuple[float | Tensor, Tensor]] | None = None,
        apart: Mapping[str, Tensor] | None = None,
        whole: float | Tensor | None = None,
    ) -> None:
        self._weighted = {name: Term(*term) for name, term in terms.items()}
        self.whole = sum(term.weight for term in self._weighted.values()) if whole is None else whole
        self.apart = dict(apart or {})
        self._terms = self._weighted | {name: Term(0.0, value) for name, value in self.apart.items()}
        self.normaliser = normaliser
        self.extras = {name: Term(*term) for name, term in (extras or {}).items()}

    @classmethod
    def part(
        cls,
        terms: Mapping[str, tuple[float | Tensor, Tensor]],
        whole: float,
        extras: Mapping[str, tuple[float | Tensor, Tensor]] | None = None,
    ) -> Terms:
        """What one pass of a step has of a weighted mean, whose weights are `whole` in all passes together."""
        return cls(terms, normaliser=whole, extras=extras, whole=whole)

    def __getitem__(self, name: str) -> Term:
        return self._terms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._terms)

    def __len__(self) -> int:
        return len(self._terms)

    def __repr__(self) -> str:
        body = " + ".join(f"{term.weight:g}·{name}" for name, term in self.items())
        extras = "".join(f" + {term.weight:g}·{name}" for name, term in self.extras.items())
        return f"Terms(({body}) / {self.normaliser:g}{extras})"

    def total(self) -> Tensor:
        """The loss, a 0-d tensor."""
        total = sum_of(self._weighted) / self.normaliser
        return total + sum_of(self.extras) if self.extras else total

    def objective(self) -> Tensor:
        """The value to differentiate, 0-d: the loss, plus the values `apart`, which share no parameter with it."""
        return torch.stack([self.total(), *self.apart.values()]).sum() if self.apart else self.total()

    def plus(self, terms: Mapping[str, tuple[float | Tensor, Tensor]], weight: float | Tensor) -> Terms:
        """Return these terms and `terms`, whose weights count as those that are there do.

        weight: of what is added to all passes of the step together. A weighted mean stays one: it is added to the
        normaliser. A plain sum (DDFP) keeps its total weight.
        """
        merged: dict[str, tuple[float | Tensor, Tensor]] = {**self._weighted, **terms}
        normaliser, whole = self.normaliser + weight * (self.normaliser / self.whole), self.whole + weight
        return Terms(merged, normaliser=normaliser, extras=self.extras, apart=self.apart, whole=whole)

    def of_another_pass(self, terms: Mapping[str, tuple[float | Tensor, Tensor]]) -> Terms:
        """`terms` as a part of the same loss."""
        return Terms(terms, normaliser=self.normaliser, whole=self.whole)

    def join(self, later: Terms) -> Terms:
        """These terms and those of a later pass of the same step."""
        return Terms(
            {**self._weighted, **later._weighted},
            normaliser=self.normaliser,
            extras={**self.extras, **later.extras},
            apart={**self.apart, **later.apart},
            whole=self.whole,
        )

    def detach(self) -> Terms:
        """The same numbers without their graph."""
        return Terms(
            {name: (weight, value.detach()) for name, (weight, value) in self._weighted.items()},
            normaliser=self.normaliser,
            extras={name: (weight, value.detach()) for name, (weight, value) in self.extras.items()},
            apart={name: value.detach() for name, value in self.apart.items()},
            whole=self.whole,
        )


def sum_of(terms: Mapping[str, Term]) -> Tensor:
    """Σ weight · value."""
    return torch.stack([term.weight * term.value for term in terms.values()]).sum()
