"""CorrMatch's region propagation: a region whose confident pixels agree takes their label as a whole."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from semiovs.methods.maths import Target, Threshold

#: Little-endian bytes b₀ … b₇ of 0 or 1, times this: the highest byte is Σ bᵢ 2ⁱ, and nothing is carried into it.
_GATHER = 0x0102040810204080


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
    census of such cells, and the pixels are gone through once for eight. It never waits for the device.
    """
    size, (images, classes) = target.label.shape, (len(target.label), num_classes)
    sure, label, spread = (t.flatten(1) for t in (target.mask(threshold), target.label, torch.zeros_like(target.valid)))
    half, one = sure * (256 * classes), torch.ones((), device=label.device).expand(label.shape)

    for eight in shapes.flatten(1, 2).unbind(2):
        signature = eight.long()
        cell = torch.add(label, signature, alpha=classes)
        census = one.new_zeros(images, 2 * 256 * classes).scatter_add_(1, cell + half, one)
        becomes, accepted = settle(census.view(images, 2, 256, classes), threshold.value)
        label = becomes.flatten(1).gather(1, cell)
        spread = spread | accepted.gather(1, signature)

    return replace(target, label=label.view(size), confidence=target.confidence.masked_fill(spread.view(size), 1.0))


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
