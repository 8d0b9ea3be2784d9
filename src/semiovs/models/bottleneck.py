"""AllSpark's bottleneck: rebuilds the channels of an image's last feature map from channels of unlabelled images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.models.segmenter import Neck

#: The fused kernels want tokens in multiples of this; zeros in between change no product.
_PAD = 8


class Bottleneck(Neck):
    """Attention between channels, each a vector over the tokens of the map (Wang et al. 2024, section 3; AllSpark spec,
    section 2).

    channels: C of the map; couple: a map to predict is made from all maps of the batch, as the published program does,
    instead of from itself alone.
    """

    name = "allspark"

    def __init__(self, channels: int, *, heads: int = 2, dropout: float = 0.1, couple: bool = False) -> None:
        super().__init__()
        self.couple = couple
        self.map_in = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        self.attn_norm = nn.LayerNorm(channels, eps=1e-6)
        self.attn = ChannelAttention(channels, heads, dropout)
        self.encoder_norm = nn.LayerNorm(channels, eps=1e-6)
        self.map_out = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())

    def forward(self, feature: Tensor) -> Tensor:
        """For inference: (B, C, h, w) -> (B, C, h, w), as labelled images are treated, from their own channels."""
        e, n = self.enter(feature)
        sources = n if self.couple else None
        return self.leave(self.attn.cross(n, sources) + e, feature)

    def enter(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) -> tokens e (B, N, C) and their norm n, which the attention reads."""
        e = self.map_in(feature).flatten(2).transpose(1, 2)
        return e, self.attn_norm(e)

    def leave(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Tokens a + e (B, N, C) -> map (B, C, h, w), of the size of `like`."""
        feature = self.encoder_norm(tokens).transpose(1, 2).reshape(like.shape)
        return self.map_out(feature)  # type: ignore[no-any-return]


class ChannelAttention(nn.Module):
    """Two attentions, whose heads have the full width C each: of unlabelled images to themselves, of labelled ones to
    sources.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        wide = heads * channels
        self.heads = heads
        self.q_u, self.k_u, self.v_u = (nn.Linear(channels, wide, bias=False) for _ in range(3))
        self.q_l2u, self.k_l2u, self.v_l2u = (nn.Linear(channels, wide, bias=False) for _ in range(3))
        self.out_u, self.out_l2u = (nn.Linear(wide, channels, bias=False) for _ in range(2))
        self.attn_dropout, self.out_dropout = nn.Dropout(dropout), nn.Dropout(dropout)
        for linear in (m for m in self.modules() if isinstance(m, nn.Linear)):
            nn.init.xavier_uniform_(linear.weight)

    def itself(self, n: Tensor) -> Tensor:
        """Tokens n (B, N, C) -> (B, N, C): each head attends from the channels of an image to the same image's."""

        def split(tokens: Tensor) -> Tensor:  # (B, N, H·C), a head after the other -> (B, H, C, N)
            return tokens.transpose(1, 2).reshape(n.shape[0], self.heads, -1, n.shape[1])

        a = self._attend(split(self.q_u(n)), split(self.k_u(n)), split(self.v_u(n)))
        tokens = a.permute(0, 3, 2, 1).flatten(2)  # the head varies fastest: the published order of `out_u`
        return self.out_dropout(self.out_u(tokens))  # type: ignore[no-any-return]

    def cross(self, n: Tensor, sources: Tensor | None, filled: Tensor | None = None) -> Tensor:
        """Tokens n (B, N, C) -> (B, N, C): the channels of all heads together attend to those of S sources.

        sources: (S, N, C), the same for every image; None: each image is its own. filled: (S,) bool, the sources that
        count.
        """
        q = self.q_l2u(n).transpose(1, 2)[:, None]  # (B, 1, H·C, N)
        k, v = (f(n if sources is None else sources).transpose(1, 2) for f in (self.k_l2u, self.v_l2u))
        if sources is None:
            a = self._attend(q, k[:, None], v[:, None])
        else:
            counts = None if filled is None else filled.repeat_interleave(k.shape[1])
            a = self._attend(q, k.flatten(0, 1)[None, None], v.flatten(0, 1)[None, None], counts)
        return self.out_dropout(self.out_l2u(a.squeeze(1).transpose(1, 2)))  # type: ignore[no-any-return]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, counts: Tensor | None = None) -> Tensor:
        """softmax(ψ(q kᵀ)) v with ψ the instance norm of the whole map; q (B, H, I, N), k, v (B or 1, H, J, N) -> (B,
        H, I, N).

        A softmax does not feel the mean that ψ takes off, so that ψ is a scale, 1 / σ, which is known from q and k
        without the map (see `deviation`): the map itself, (H·C) x (S·H·C) for a labelled image, is never kept. counts:
        (J,) bool.
        """
        q = q / deviation(q, k, counts).to(q.dtype)
        bias = None if counts is None else torch.zeros_like(counts, dtype=q.dtype).masked_fill(~counts, -torch.inf)
        spare = -q.shape[-1] % _PAD
        q, k, v = (
            F.pad(t, (0, spare)) for t in (q, k.expand(q.shape[0], -1, -1, -1), v.expand(q.shape[0], -1, -1, -1))
        )
        p = self.attn_dropout.p if self.training else 0.0
        mask = None if bias is None else bias.expand(q.shape[0], q.shape[1], q.shape[2], -1)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, scale=1.0)
        return a[..., : a.shape[-1] - spare]


def deviation(q: Tensor, k: Tensor, counts: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    """σ of the map q kᵀ as an instance norm has it, sqrt(variance + eps): q (B, H, I, N), k (B or 1, H, J, N) -> (B, H,
    1, 1).

    With q = q̄ + a and k = k̄ + b (means over the channels), the map less its mean is q̄·b + a·k̄ + a·b, three parts
    without correlation, whose mean squares are those of two vectors and ⟨aᵀa, bᵀb⟩ / IJ: N x N instead of I x J. No
    part is negative, so nothing cancels. counts: (J,) bool, the channels of k that count (the others are 0).
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k = (t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in (q, k))
        rows = q.shape[2]
        columns = k.shape[2] if counts is None else counts.sum()
        q_mean, k_mean = q.mean(2, keepdim=True), k.sum(2, keepdim=True) / columns
        a, b = q - q_mean, k - k_mean
        if counts is not None:
            b = b * counts[:, None]
        by_column = (q_mean @ b.transpose(2, 3)).square().sum((2, 3)) / columns
        by_row = (k_mean @ a.transpose(2, 3)).square().sum((2, 3)) / rows
        both = ((a.transpose(2, 3) @ a) * (b.transpose(2, 3) @ b)).sum((2, 3)) / (rows * columns)
        return (by_column + by_row + both + eps).sqrt()[..., None, None]
