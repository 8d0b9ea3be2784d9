"""Passes through the student: groups of images that share one forward (and so one set of BatchNorm statistics)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semiovs.methods.draws import Draws
from semiovs.models.segmenter import Features, Segmenter

Logits = tuple[Tensor, ...]


def segment(student: Segmenter, *groups: Tensor) -> Logits:
    """One forward over all groups (B_i, 3, H, W) -> their logits (B_i, K, H, W)."""
    return _split(student(torch.cat(groups)), groups)


def segment_perturbed(student: Segmenter, draws: Draws, *groups: Tensor) -> tuple[Logits, Logits]:
    """One encoding, one decoding of the clean and the perturbed features together -> clean logits, perturbed logits.

    The decoder's BatchNorm sees clean and perturbed features of every group as one batch, as in UniMatch.
    """
    return decode_perturbed(student, draws, student.encode(torch.cat(groups)), groups)


def decode_perturbed(
    student: Segmenter, draws: Draws, features: Features, groups: Sequence[Tensor]
) -> tuple[Logits, Logits]:
    """The second half of `segment_perturbed`, for methods that read the features (of all groups) themselves."""
    perturbed = draws.channel_dropout(features)
    both = tuple(torch.cat(pair) for pair in zip(features, perturbed, strict=True))
    clean, dropped = student.decode(both, (groups[0].shape[-2], groups[0].shape[-1])).chunk(2)
    return _split(clean, groups), _split(dropped, groups)


def segment_complementary(student: Segmenter, draws: Draws, s1: Tensor, s2: Tensor) -> Logits:
    """One forward over two views (B, 3, H, W) of the same images, with complementary feature channels."""
    features = draws.complementary_dropout(student.encode(torch.cat((s1, s2))))
    return _split(student.decode(features, (s1.shape[-2], s1.shape[-1])), (s1, s2))


def _split(logits: Tensor, groups: Sequence[Tensor]) -> Logits:
    return tuple(torch.split(logits, [len(group) for group in groups]))


@contextmanager
def no_gradient(module: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Evaluation mode (or training mode) without gradients; afterwards each submodule has its own mode back.

    Autocast keeps no weights meanwhile: older versions of torch (2.6 is one) would hand those that were cast without
    gradients to the training passes.
    """
    modes = [(m, m.training) for m in module.modules()]
    cached = torch.is_autocast_cache_enabled()
    module.train(training)
    try:
        torch.set_autocast_cache_enabled(False)
        with torch.no_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(cached)
        for m, mode in modes:
            m.training = mode


@contextmanager
def keep_running_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm uses the statistics of the batch without keeping them."""
    layers = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [layer.track_running_stats for layer in layers]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, value in zip(layers, kept, strict=True):
            layer.track_running_stats = value
