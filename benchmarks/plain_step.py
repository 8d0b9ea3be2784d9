"""The published steps, written down plainly: NCHW, boxes as maps, boolean indices, a value read back for every log
line.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.data import Batch
from semiovs.models import Segmenter


class PlainUniMatch(nn.Module):
    """UniMatch, and with `ood` SemiOVS: one function from a batch to a loss (deeplab_methods spec, section 4)."""

    def __init__(self, model: Segmenter, threshold: float, *, ood: bool) -> None:
        super().__init__()
        self.model = model
        self.threshold = threshold
        self.ood = ood
        self.seen: dict[str, float] = {}

    def forward(self, batch: Batch) -> Tensor:
        assert batch.unlabeled is not None
        assert batch.mixing is not None
        u, m, o = batch.unlabeled, batch.mixing, batch.ood
        side = u.weak.shape[-1]
        box1, box2 = (maps(boxes, side).to(u.weak.device) for boxes in u.boxes)
        with torch.no_grad():
            self.model.eval()
            label_m, confidence_m = believed(self.model(m.weak))
            self.model.train()
        s1, s2 = mix(u.strong[0], m.strong[0], box1), mix(u.strong[1], m.strong[1], box2)

        groups = [batch.labeled.image, u.weak] + ([o.weak] if self.ood and o is not None else [])
        features = self.model.encode(torch.cat(groups))
        both = tuple(torch.cat((f, F.dropout2d(f, 0.5, training=True))) for f in features)
        clean, dropped = self.model.decode(both, (side, side)).chunk(2)
        count = len(u.weak)
        p_x, p_w = clean[:count], clean[count : 2 * count]
        p_fp, p_o, fp_o = dropped[count : 2 * count], clean[2 * count :], dropped[2 * count :]
        p_s1, p_s2 = self.model(torch.cat((s1, s2))).chunk(2)

        label_w, confidence_w = believed(p_w.detach())
        valid_w, valid_m = u.valid.long(), m.valid.long()
        l_x = F.cross_entropy(p_x, batch.labeled.mask, ignore_index=255)
        losses = [l_x]
        for logits, box, weight in ((p_s1, box1, 0.25), (p_s2, box2, 0.25)):
            label, confidence, valid = (
                mix(a, b, box) for a, b in ((label_w, label_m), (confidence_w, confidence_m), (valid_w, valid_m))
            )
            losses.append(weight * self.masked(logits, label, confidence, valid))
        losses.append(0.5 * self.masked(p_fp, label_w, confidence_w, valid_w))
        if self.ood and o is not None:
            losses += self.foreign(batch, (p_o, fp_o), (box1, box2), (label_w, confidence_w, valid_w))
        self.seen = {str(index): loss.item() for index, loss in enumerate(losses)}
        return torch.stack(losses).sum() / (3.0 if self.ood else 2.0)

    def foreign(
        self,
        batch: Batch,
        carried: tuple[Tensor, Tensor],
        boxes: tuple[Tensor, Tensor],
        own: tuple[Tensor, Tensor, Tensor],
    ) -> list[Tensor]:
        """Terms of the OOD images, which take patches of the strong views that are not mixed yet."""
        assert batch.ood is not None
        assert batch.unlabeled is not None
        o, u = batch.ood, batch.unlabeled
        confidence, valid = torch.ones_like(own[1]), o.valid.long()
        strong = [mix(a, b, box) for a, b, box in zip(o.strong, u.strong, boxes, strict=True)]
        losses = []
        for logits, box in zip(self.model(torch.cat(strong)).chunk(2), boxes, strict=True):
            given = (o.label, confidence, valid)
            losses.append(0.25 * self.masked(logits, *(mix(a, b, box) for a, b in zip(given, own, strict=True))))
        return [*losses, 0.5 * self.masked(carried[1], o.label, confidence, valid)]

    def masked(self, logits: Tensor, label: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
        loss = F.cross_entropy(logits, label, reduction="none")
        loss = loss * ((confidence >= self.threshold) & (valid == 1))
        return loss.sum() / (valid == 1).sum().item()


def believed(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Label and confidence."""
    probabilities = logits.softmax(dim=1)
    return probabilities.argmax(dim=1), probabilities.max(dim=1)[0]


def maps(boxes: Tensor, side: int) -> Tensor:
    """(B, 4) -> (B, side, side), 1 inside."""
    out = torch.zeros(len(boxes), side, side)
    for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        out[index, y0:y1, x0:x1] = 1
    return out


def mix(a: Tensor, b: Tensor, box: Tensor) -> Tensor:
    mixed = a.clone()
    where = box.unsqueeze(1).expand(a.shape) == 1 if a.ndim == 4 else box == 1
    mixed[where] = b[where]
    return mixed
