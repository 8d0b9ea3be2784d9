"""Parameter groups of an encoder for the optimiser: one learning rate for all of it, or one a layer."""

from __future__ import annotations

from typing import Any

from semiovs.errors import UsageError
from semiovs.models.segmenter import Segmenter


def encoder_groups(student: Segmenter, lr: float, decay: float | None) -> list[dict[str, Any]]:
    """The trained parameters of the encoder as optimiser groups.

    With `decay` d the last of D layers has the rate `lr`, the one before it d · lr, the first d^(D - 1) · lr (Bao et
    al. 2022).

    Raises:
        UsageError: `decay` for an encoder whose layers have no known order.
    """
    if decay is None:
        trained = [p for p in student.backbone.parameters() if p.requires_grad]
        return [{"params": trained, "lr": lr, "name": "encoder"}]
    layers = student.layers()
    if len(layers) == 1:
        raise UsageError(
            "optim.layer_decay: the layers of this encoder have no known order; use model.name=dpt, or null"
        )
    return [
        {
            "params": [p for p in layer if p.requires_grad],
            "lr": lr * decay ** (len(layers) - 1 - i),
            "name": f"encoder.{i}",
        }
        for i, layer in enumerate(layers)
    ]
