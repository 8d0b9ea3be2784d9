"""Activations of an encoder that are computed again in the backward pass instead of being kept (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semiovs.errors import UsageError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def recompute_blocks(encoder: nn.Module) -> int:
    """Let each block of an encoder keep its input alone, and compute the rest again when its gradient is due; returns
    how many blocks there are.

    A block is a module of several layers in a sequence: of a residual network, a transformer. The numbers stay the
    same: random draws are repeated, and BatchNorm keeps the statistics of the first time only.

    Raises:
        UsageError: an encoder without blocks.
    """
    blocks = list(_find_blocks(encoder))
    if not blocks:
        raise UsageError("train.recompute: the encoder is no sequence of blocks; leave it away")
    for block in blocks:
        block.forward = partial(_run, block, block.forward)
    return len(blocks)


def _find_blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        inside = isinstance(module, _CONTAINERS) and any(True for _ in child.children())
        if inside and not isinstance(child, _CONTAINERS):
            yield child
        else:
            yield from _find_blocks(child)


def _run(block: nn.Module, forward: Callable[..., Any], x: Tensor, *given: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(x, *given, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _keep_statistics(block)

    before = x._version
    found = checkpoint(forward, x, *given, use_reentrant=False, context_fn=contexts, **named)
    if x._version != before:
        raise UsageError("train.recompute: a block of this encoder writes into its input; leave it away")
    return found


@contextmanager
def _keep_statistics(block: nn.Module) -> Iterator[None]:
    """BatchNorm goes through all that it did before, but moves its statistics by nothing.

    (`track_running_stats` off would do, if the graph then held as many tensors.)
    """
    layers = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    kept = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum, counter = 0.0, layer.num_batches_tracked
        layer.num_batches_tracked = counter if counter is None else counter.clone()
    try:
        yield
    finally:
        for layer, (momentum, counter) in zip(layers, kept, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, counter
