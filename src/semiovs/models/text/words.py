"""`words`: a text tower of half a megabyte that is trained together with the segmenter.

A word is the sum of two rows of one table, found by hashing (Svenstrup et al. 2017): no word list has to be kept beside
the weights, and two words share both rows practically never. A sentence is the mean of its words and a small network on
top, so that words that were learnt apart can be put together in new ways. A word never seen in training adds little
more than noise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor, nn

from semiovs.models.text.encoder import fingerprint

_WORD = re.compile(r"[^\W_]+")
#: Words of a sentence that are read; the others are left out.
LONGEST = 24


class WordText(nn.Module):
    """Sentences -> (N, dim). Gradients flow wherever autograd is on.

    buckets: rows of the table (the last is padding); width: their length.
    """

    def __init__(self, dim: int = 64, *, buckets: int = 2048, width: int = 48) -> None:
        super().__init__()
        self.dim = dim
        self.buckets = buckets
        self.table = nn.Embedding(buckets + 1, width, padding_idx=buckets)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.out = nn.Linear(width, dim, bias=False)
        nn.init.normal_(self.table.weight, std=0.1)
        with torch.no_grad():
            self.table.weight[buckets].zero_()
        self._rows: dict[str, list[int]] = {}
        self._latest: tuple[tuple[tuple[str, ...], torch.device], Tensor] | None = None

    @property
    def identity(self) -> str:
        """Hash of the weights as they are now."""
        return f"words:{fingerprint(self.state_dict())}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        """N sentences -> (N, dim) float32 on the table's device, not normalised."""
        asked = tuple(texts), self.table.weight.device
        if self._latest is None or self._latest[0] != asked:  # the same each step, which then does not wait for them
            self._latest = asked, self._make_rows(*asked)
        vectors: Tensor = self(self._latest[1])
        return vectors

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of the table, two a word (N, 2L) int64, padded -> (N, dim) float32."""
        with torch.autocast(rows.device.type, enabled=False):
            count = (rows != self.buckets).sum(dim=1, keepdim=True).clamp_min(1)
            mean = self.table(rows).sum(dim=1) / count
            mixed: Tensor = self.out(mean + self.mix(mean))
        return mixed

    def _make_rows(self, texts: tuple[str, ...], device: torch.device) -> Tensor:
        """(N, 2L) for `forward`, of use in training also where they are first asked for in inference mode."""
        found = [self._rows_of(text) for text in texts]
        longest = max((len(rows) for rows in found), default=0)
        padded = [rows + [self.buckets] * (longest - len(rows)) for rows in found]
        with torch.inference_mode(False):
            return torch.tensor(padded, dtype=torch.long, device=device).reshape(len(texts), longest)

    def _rows_of(self, text: str) -> list[int]:
        known = self._rows.get(text)
        if known is None:
            known = [row for word in words_of(text)[:LONGEST] for row in _hashes(word, self.buckets)]
            self._rows[text] = known
        return known


def words_of(text: str) -> list[str]:
    """Lower-case words; everything but letters and digits stands between them."""
    return _WORD.findall(text.lower())


def _hashes(word: str, buckets: int) -> tuple[int, int]:
    """Two rows of the table, the same on every machine."""
    digest = blake2b(word.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little") % buckets, int.from_bytes(digest[8:], "little") % buckets
