"""Does bf16 pay? Forward and backward of a segmenter on one core, fp32 against bf16 autocast, both channels_last."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.measure import Row, Size, alternately, row
from semiovs.models import build_segmenter

_ENCODERS = ("small", "tf_efficientnet_lite0", "resnet50s")


def rows(size: Size) -> list[Row]:
    out = []
    for encoder in _ENCODERS[: size.of(3, 1)]:
        side, count = (size.of(64, 33), size.of(16, 2)) if encoder == "small" else (129, 2)
        times = alternately(
            size, bf16=_pass(encoder, side, count, bf16=True), fp32=_pass(encoder, side, count, bf16=False)
        )
        out.append(row(f"bf16 against fp32, {encoder} {side}²×{count}", times, "bf16", "fp32", "ms"))
    return out


def _pass(encoder: str, side: int, count: int, *, bf16: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    model = build_segmenter("deeplabv3plus", num_classes=21, encoder=encoder).train()
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(count, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 21, (count, side, side))

    def run() -> None:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]

    return run
