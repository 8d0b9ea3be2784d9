"""A teacher that takes its time, for tests that kill, and the `semiovs label` that knows it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image

from semiovs.ovs.base import OpenVocabModel
from semiovs.registry import TEACHERS, Entry


class Slow(OpenVocabModel):
    """Class by brightness. delay: seconds an image; it changes no label, so it is no part of the description."""

    def __init__(self, delay: float = 0.0, kind: str = "a") -> None:
        self.delay, self.kind = delay, kind

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def scores(self, images, vocabulary, *, ids=None):
        time.sleep(self.delay * len(images))
        bright = [image.float().mean(0) / 255 for image in images]
        return [torch.stack([1 - b, b]) for b in bright]


def label(*arguments: str) -> None:
    """`semiovs label ARGUMENTS… --teacher slow`."""
    import semiovs.ovs
    from semiovs.cli import run

    row = Entry("slow", "e2e.toy_label:Slow", "for tests")
    semiovs.ovs.TEACHERS = MappingProxyType({**TEACHERS, "slow": row})
    sys.exit(run(["label", *arguments, "--teacher", "slow"]))


def small_files(limit: int, *arguments: str) -> None:
    """`label`, where no file may grow beyond `limit` bytes: the index hits a wall in the middle of a line."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    label(*arguments)


def pictures(folder: Path, count: int) -> Path:
    """Small images with an id that does not sort as it counts."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"d{i % 3}" / f"{(7 * i) % count}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9 + i % 4, 12, 3), np.uint8)).save(path)
    return folder


def options(images: Path, out: Path, *, delay: float = 0.0) -> list[str]:
    return ["--images", str(images), "--classes", "dark,bright", "--out", str(out), "--set", f"delay={delay}"]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def lines(store: Path) -> int:
    path = store / "index.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
