"""CorrMatch's region propagation: a region whose confident pixels agree takes their label as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from semiovs.methods.maths import Target, Threshold

#: Little-endian bytes b₀ … b₇ of 0 or 1, times this: the highest byte is Σ bᵢ 2ⁱ, and nothing is carried into it.
_GATHER = 0x0102040810204080

#: Pixels from which on, on a CPU, it is looked beforehand where shapes can spread.
WORTH = 2**16


def pack_masks(masks: Tensor) -> Tensor:
    """(…, M) bool, contiguous, M a multiple of 8 -> (…, M / 8) uint8, the first of eight masks in the lowest bit."""
    return (masks.view(torch.int64) * _GATHER >> 56).to(torch.uint8)


def propagate(target: Target, shapes: Tensor, threshold: Threshold, num_classes: int) -> Target:
    """Labels spread over shapes (Sun et al. 2024, section 3.3; corrmatch spec, section 4, step 6).

    target: labels of B images; shapes: (B, H, W, M / 8) uint8 (`pack_masks`), M shapes taken one after the other;
    threshold: τ, one number. With H the sure pixels of a shape R (sure at the start: what is spread does not vote), R
    takes the commonest label of H, with confidence 1, if |H| ≥ τ |R| and that label holds more than τ of H. Labels
    count as earlier shapes left them, so the order matters.

    Pixels that are in the same of eight shapes and have the same label fare alike, so eight shapes are settled on a
    census of such cells, and the pixels are gone through once for eight. It never waits for a GPU; on a CPU images
    where none of the eight can spread are found beforehand and left as they are.
    """
    size = target.label.shape
    sure, label, spread = (t.flatten(1) for t in (target.mask(threshold), target.label, torch.zeros_like(target.valid)))
    few, half = _find_few(sure), sure * (256 * num_classes)
    label = label if few is None else label.clone()

    for eight in shapes.flatten(1, 2).unbind(2):
        eight = eight if few is None else eight.contiguous()
        rows = None if few is None else few.find_images(eight, threshold.value)
        if rows is None:
            label, accepted = _spread_eight(label, eight, half, threshold.value, num_classes)
            spread = spread | accepted
        elif bool(rows.any()):
            label[rows], accepted = _spread_eight(label[rows], eight[rows], half[rows], threshold.value, num_classes)
            spread[rows] |= accepted

    return replace(target, label=label.view(size), confidence=target.confidence.masked_fill(spread.view(size), 1.0))


def _spread_eight(label: Tensor, eight: Tensor, half: Tensor, τ: float | Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Labels (B, N) after eight shapes (B, N), a bit each, and the pixels where one of them was accepted.

    half: (B, N), 256 · classes for sure pixels, which are counted by themselves.
    """
    signature, images = eight.long(), len(label)
    cell = torch.add(label, signature, alpha=classes)
    one = torch.ones((), device=label.device).expand(label.shape)
    census = one.new_zeros(images, 2 * 256 * classes).scatter_add_(1, cell + half, one)
    becomes, accepted = settle(census.view(images, 2, 256, classes), τ)
    return becomes.flatten(1).gather(1, cell), accepted.gather(1, signature)


@dataclass(frozen=True)
class _FewSure:
    """Images, on a CPU, of whose pixels less than half are sure: most shapes have too few voters there, whatever these
    say.

    few: (B,) bool; place: (F, N) int32, of each of their pixels in a census of images, sure or not, and eight shapes.
    """

    few: Tensor
    place: Tensor

    def find_images(self, eight: Tensor, τ: float | Tensor) -> Tensor | None:
        """Images where one of eight shapes (B, N) may spread, (B,) bool; None: all."""
        count = len(self.place)
        own = eight if count == len(eight) else eight[self.few]
        signature = own.int()  # a sum of two types would be slow
        census = torch.bincount((self.place + signature).flatten(), minlength=512 * count)
        member = (torch.arange(256)[:, None] >> torch.arange(8) & 1).float()
        unsure, voters = (census.view(count, 2, 256).float() @ member).unbind(1)  # (F, 8) each, as in `settle`
        may = ~self.few
        may[self.few] = ((voters > 0) & (voters >= τ * (unsure + voters))).any(1)
        return None if bool(may.all()) else may


def _find_few(sure: Tensor) -> _FewSure | None:
    """sure: (B, N) bool; None where looking beforehand does not pay, or would wait for a GPU."""
    if sure.device.type != "cpu" or sure.numel() < WORTH:
        return None
    few = 2 * sure.sum(1) < sure.shape[1]
    some = sure[few].int()
    return _FewSure(few, 256 * some + 512 * torch.arange(len(some), dtype=torch.int32)[:, None]) if len(some) else None


def settle(census: Tensor, τ: float | Tensor) -> tuple[Tensor, Tensor]:
    """Propagate the labels over eight shapes, one after the other.

    census: (B, 2, 256, K), pixels that are not sure and that are, by the shapes they are in (a bit each) and by label.
    Returns the label that each label becomes (B, 256, K), and where the label was accepted (B, 256), so that its
    confidence becomes 1.
    """
    images, _, _, classes = census.shape
    cells, bit = (torch.arange(n, device=census.device) for n in (256, 8))
    member = cells[:, None] >> bit & 1
    unsure, voters = (census.sum(3)[..., None] * member).sum(2).unbind(1)  # (B, 8) each
    limit = (τ * voters).where(voters >= τ * (unsure + voters), torch.inf)
    of_members = census[:, 1, member.argsort(dim=0, stable=True)[128:].T].flatten(2)  # (B, 8, 128 K)
    label = torch.arange(classes, device=census.device).repeat(images, 256, 1)
    accepted = torch.zeros(images, 256, dtype=torch.bool, device=census.device)
    votes = census.new_zeros(8, images, classes)

    for i in range(8):
        halves = (images, 128 >> i, 2, 1 << i)  # [:, :, 1] are the members of shape i
        inside = label.view(*halves, classes)[:, :, 1]
        most, winner = votes[i].scatter_add_(1, inside.flatten(1), of_members[:, i]).max(1)
        agree = (most > limit[:, i]).view(images, 1, 1)
        torch.where(agree[..., None], winner.view(images, 1, 1, 1), inside, out=inside)
        accepted.view(halves)[:, :, 1].logical_or_(agree)
    return label, accepted
