"""SED as it was published: one file with the network and the text tower that it was trained against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.models.convert import LoadReport, detect_family
from semiovs.models.sed.aggregator import Aggregator
from semiovs.models.sed.dense_encoder import ClipDense, build_clip
from semiovs.models.sed.network import Sed
from semiovs.models.sed_layout import AGGREGATOR, CLIP, VARIANTS, variant_of
from semiovs.models.statedict import compare, first_of, read_state, strip_prefix
from semiovs.models.text import IMAGENET_TEMPLATES
from semiovs.models.text.clip import ClipText

_FAMILY = "sed"


@dataclass(frozen=True)
class Published:
    """A published SED. text: the frozen CLIP tower of the same file; variant: `large` or `base`."""

    network: Sed
    text: ClipText
    variant: str
    report: LoadReport


class Skeleton(nn.Module):
    """CLIP model and aggregator of a published size, under the names of its file. Weights cost memory only once they
    are loaded.

    clip: configuration of an open_clip model (embed_dim, vision_cfg, text_cfg), or its name.
    """

    def __init__(self, clip: str | Mapping[str, Any]) -> None:
        super().__init__()
        with torch.device("meta"):
            built = build_clip(clip) if isinstance(clip, str) else build_clip(**clip)
            self.clip = built.module
            self.dense = ClipDense(self.clip.visual, dim=built.width)
            self.aggregator = Aggregator(IMAGENET_TEMPLATES, self.dense.guide_dims)

    def expected(self) -> dict[str, Tensor]:
        """Names and shapes of the file."""
        parts = {CLIP: self.clip, AGGREGATOR: self.aggregator}
        return {f"{prefix}{name}": value for prefix, part in parts.items() for name, value in part.state_dict().items()}

    def load(self, state: Mapping[str, Tensor]) -> LoadReport:
        """Take over the tensors, in float32, if every name and shape fits; else do nothing but report."""
        fit = compare(self.expected(), state)
        report = LoadReport(_FAMILY, fit.matched, fit.missing, fit.unexpected, fit.mismatched)
        if report.ok:
            for prefix, part in ((CLIP, self.clip), (AGGREGATOR, self.aggregator)):
                own = {
                    name.removeprefix(prefix): value.float() for name, value in state.items() if name.startswith(prefix)
                }
                part.load_state_dict(own, assign=True)
            length = int(self.clip.context_length)
            self.clip.attn_mask = torch.full((length, length), -torch.inf).triu_(1)  # no part of any file
        return report

    def published(self, variant: str, report: LoadReport) -> Published:
        """The parts, in evaluation mode and never trained; images and texts do not share weights, so each has its
        own.
        """
        clip = self.clip
        network = Sed(self.dense, self.aggregator).eval().requires_grad_(False)
        clip.visual = None
        return Published(network, ClipText(clip.eval().requires_grad_(False)), variant, report)


def load_published(path: Path, *, variant: str | None = None) -> Published:
    """Load a published checkpoint: ``{"model": …}`` or the bare state, with or without ``module.``; everything must
    fit.

    variant: large or base; None tells by the file.

    Raises:
        WeightsError: missing, damaged, or anything but that checkpoint; UsageError: no such variant.
    """
    return from_state(read_state(path), variant=variant, where=str(path))


def check_variant(variant: str | None) -> None:
    """Raise UsageError unless it is a published size, or None."""
    if variant is not None and variant not in VARIANTS:
        raise UsageError(f"SED variant '{variant}' is not known{did_you_mean(variant, VARIANTS)}")


def from_state(state: Mapping[str, Tensor], *, variant: str | None, where: str) -> Published:
    """As `load_published`, for the tensors of the file `where`."""
    check_variant(variant)
    state = strip_prefix(state, "module.")
    found = variant_of(state)
    chosen = variant or found
    if found is None or chosen is None:
        what = detect_family(state)
        known = f"this looks like a {what}" if what else f"its first names are {first_of(state)}"
        raise WeightsError(f"{where}: no SED checkpoint: {known}; sed_model_large.pth or the base model is expected")
    if found != chosen:
        raise WeightsError(f"{where}: this is SED {found}, not {chosen}; set variant={found}, or give the other file")
    skeleton = Skeleton(VARIANTS[chosen][0])
    report = skeleton.load(state)
    if not report.ok:
        raise WeightsError(f"{where}: does not fit SED {chosen}: {report}; is the file whole and unchanged?")
    return skeleton.published(chosen, report)
