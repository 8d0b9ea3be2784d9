"""A normalising flow with one Gaussian per class: how likely is a feature vector (DDFP; its spec, section 3).

The names of its tensors are those of the published weights. Checked against the recorded numbers: no library computes
this one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from semiovs.errors import UsageError

#: Label of a vector that may be of any class: its density is that of the mixture.
ANY = 300
#: Bound of the logarithm of a scale, in units of 2·atan.
_CLAMP = 0.636
_INIT_STD = 0.05


class Flow(nn.Module):
    """log p(x) of vectors x (N, D): an invertible map x -> z, and Gaussians around K trained means in the space of z.

    features: D, even; hidden: width of the networks inside, D if None.
    """

    def __init__(self, features: int, num_classes: int, *, hidden: int | None = None, blocks: int = 2) -> None:
        super().__init__()
        if features % 2:
            raise UsageError(f"model.channels {features}: the density flow halves its features, so take an even number")
        self.means = nn.Parameter(torch.randn(num_classes, features))
        layers: list[nn.Module] = []
        for number in range(blocks):
            layers += [_Coupling(features, hidden or features), _Permutation(features, number)]
        self.inn = nn.ModuleDict({"module_list": nn.ModuleList(layers)})

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Vectors x (N, D), label (N,) int64 or None (`ANY` everywhere) -> log p (N,); computed without autocast.

        A vector of class k counts under that class's Gaussian alone, log N(z; μ_k, 1); one of `ANY` class under their
        mean, log (1/K) Σ N(z; μ_k, 1). Where the label is neither, the value means nothing.
        """
        with torch.autocast(x.device.type, enabled=False):
            z, logdet = self.transform(x if x.dtype == torch.float64 else x.float())
            each = self.densities(z)
            mixture = each.logsumexp(dim=1) - math.log(len(self.means))
            if label is None:
                return mixture + logdet
            own = each.gather(1, label.where(label < len(self.means), 0)[:, None])[:, 0]
            return own.where(label != ANY, mixture) + logdet

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> z (N, D), log |det ∂z/∂x| (N,)."""
        logdet = x.new_zeros(len(x))
        for layer in self.inn["module_list"]:  # type: ignore[attr-defined]
            x, change = layer(x)
            logdet = logdet + change
        return x, logdet

    def densities(self, z: Tensor) -> Tensor:
        """(N, D) -> log N(z; μ_k, 1) (N, K), by |z - μ|² = |z|² - 2 z·μ + |μ|², which needs no (N, K, D)."""
        squared = z.square().sum(1, keepdim=True) - 2 * z @ self.means.T + self.means.square().sum(1)
        return -0.5 * (z.shape[1] * math.log(2 * math.pi) + squared)


class _Coupling(nn.Module):
    """Each half of the vector is scaled and shifted as the other half says (Dinh et al. 2017; soft bound of the
    scale).
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.subnet1 = _subnet(features // 2, hidden, features)
        self.subnet2 = _subnet(features // 2, hidden, features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, dim=1)
        log_a, shift_a = _affine(self.subnet2(b))
        a = a * log_a.exp() + shift_a
        log_b, shift_b = _affine(self.subnet1(a))
        b = b * log_b.exp() + shift_b
        return torch.cat([a, b], dim=1), log_a.sum(1) + log_b.sum(1)


class _Permutation(nn.Module):
    """A fixed order of the features, as published: numpy's legacy generator seeded with the block's number.

    The inverse order stands in published weights and is not needed.
    """

    perm: Tensor

    def __init__(self, features: int, seed: int) -> None:
        super().__init__()
        order = torch.from_numpy(np.random.RandomState(seed).permutation(features).astype(np.int64))
        self.register_buffer("perm", order)
        self.register_buffer("perm_inv", order.argsort())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, self.perm], x.new_zeros(len(x))


def _subnet(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    net = nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=_INIT_STD)
    return net


def _affine(made: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of the scale, and shift."""
    scale, shift = made.chunk(2, dim=1)
    return 2 * _CLAMP * scale.atan(), shift
