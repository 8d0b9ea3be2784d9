"""The paper's loss as data: named, weighted terms, a normaliser, and extras that are not normalised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Term(NamedTuple):
    """One summand: its weight (a number, or a tensor for a schedule) and its value (0-d tensor)."""

    weight: float
    value: Tensor


class Terms(Mapping[str, Term]):
    """name -> (weight, value). `total()` is the loss: Σ weight·value / normaliser + Σ extra weight·value.

    apart: values that the loss does not hold, of modules with an optimiser of their own (DDFP's flow); listed with
    weight 0.
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[float, Tensor]],
        *,
        normaliser: float = 1.0,
        extras: Mapping[str, tuple[float, Tensor]] | None = None,
        apart: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._weighted = {name: Term(*term) for name, term in terms.items()}
        self.apart = dict(apart or {})
        self._terms = self._weighted | {name: Term(0.0, value) for name, value in self.apart.items()}
        self.normaliser = normaliser
        self.extras = {name: Term(*term) for name, term in (extras or {}).items()}

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

    def plus(self, terms: Mapping[str, tuple[float, Tensor]]) -> Terms:
        """Return these terms and `terms`, whose weights count as those that are there do.

        A weighted mean stays one: the new weights are added to the normaliser. A plain sum (DDFP) keeps its total
        weight.
        """
        weight, before = (sum(w for w, _ in group.values()) for group in (terms, self._weighted))
        merged: dict[str, tuple[float, Tensor]] = {**self._weighted, **terms}
        normaliser = self.normaliser + weight * (self.normaliser / before)
        return Terms(merged, normaliser=normaliser, extras=self.extras, apart=self.apart)


def sum_of(terms: Mapping[str, Term]) -> Tensor:
    """Σ weight · value."""
    return torch.stack([term.weight * term.value for term in terms.values()]).sum()
