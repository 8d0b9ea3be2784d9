"""CorrMatch's region propagation: a shape whose sure pixels agree is believed as a whole."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from semiovs.methods.maths import Target, Threshold


def propagate(target: Target, shapes: Tensor, threshold: Threshold, num_classes: int) -> Target:
    """Labels spread over shapes (Sun et al. 2024, section 3.3; corrmatch spec, section 4, step 6).

    target: labels of B images; shapes: (M, B, H, W) bool, taken one after the other; threshold: τ, one number. With H the sure
    pixels of a shape R (sure at the start: what is spread does not vote), R takes the commonest label of H, with confidence 1,
    if |H| ≥ τ |R| and that label holds more than τ of H. Labels count as earlier shapes left them, so the order matters.

    The loop is over shapes, for all images at once, and never waits for the device.
    """
    τ, size = threshold.value, target.label.shape
    sure = target.kept(threshold).flatten(1)
    label, spread = target.label.flatten(1), torch.zeros_like(sure)
    votes = torch.zeros(len(shapes), len(label), num_classes, device=label.device)

    for region, vote in zip(shapes.flatten(2), votes, strict=True):
        vote.scatter_add_(1, label, (region & sure).to(vote.dtype))
        voters, (most, winner) = vote.sum(1), vote.max(1)
        accepted = (voters >= τ * region.sum(1)) & (most > τ * voters)  # without a voter the second is false
        region = region & accepted[:, None]
        label = torch.where(region, winner[:, None], label)
        spread |= region

    return replace(target, label=label.view(size), confidence=target.confidence.masked_fill(spread.view(size), 1.0))
