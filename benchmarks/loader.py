"""Loader: samples a CPU second and bytes a sample; a sample is a weak and two strong views of 321x321 from a 500x375
JPEG.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import pictures, plain_loader
from benchmarks.measure import Row, Size, alternately, counted, rate
from semiovs.data import Batch, Labeled, OpenVocab, Unlabeled, normalize
from semiovs.data.draws import ItemDraws
from semiovs.data.items import Augment, read_ood, stack_items
from semiovs.data.label_source import MaskFiles
from semiovs.images.masks import MaskReader
from semiovs.images.readers import RGB
from semiovs.images.record import Record

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Pipeline -> how it has its images read, as in `StepStream`.
_READ: dict[str, Callable[[Path], Any]] = {"reference": RGB, "fast": RGB.read_lazily}
#: The weak view alone.
_DEVICE = "for strong views made on the device"
_READER = MaskReader(tuple(str(i) for i in range(21)))


def rows(size: Size) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        side = size.of(321, 65)
        files = pictures.make(Path(folder), size.of(12, 3), (500, 375) if not size.tiny else (100, 75))
        found = [*_unlabeled(files, side, size), *_ood(files, side, size)]
        if size.images is None:
            return found
        files = pictures.find(size.images, size.of(24, 3))
        photographs = [*_unlabeled(files, side, size), *_ood(files, side, size)]
        return [*found, *(replace(row, name=f"photographs, {row.name}") for row in photographs)]


def _unlabeled(files: list[tuple[Path, Path]], side: int, size: Size) -> list[Row]:
    """As published, the plain pipeline also reads the mask of an unlabelled image; ours has no use for it."""

    def ours(pipeline: str, *, looks_only: bool = False) -> Callable[[int], Unlabeled]:
        augment = Augment(side, pipeline=pipeline, looks_only=looks_only)
        return lambda k: augment.unlabeled(_READ[pipeline](files[k % len(files)][0]), 2, ItemDraws(k))

    def normalized(k: int) -> Batch:
        part = stack_items([ours("fast")(k)])
        return normalize(Batch(Labeled(part.weak, part.weak[:, 0]), part), _MEAN, _STD)

    def plain(k: int) -> dict[str, Any]:
        return plain_loader.item(*files[k % len(files)], side, k, ood=False)

    _check(plain, ours("reference"), "weak")
    work = size.of(24, 3)
    times = alternately(
        size,
        plain=_all(plain, work),
        reference=_all(ours("reference"), work),
        fast=_all(ours("fast"), work),
        weak=_all(ours("fast", looks_only=True), work),
        normalized=_all(normalized, work),
    )
    unit = "samples / CPU s"
    return [
        rate("unlabelled sample, reference pipeline", times, "reference", "plain", unit, work=work),
        rate("unlabelled sample, fast pipeline", times, "fast", "plain", unit, work=work),
        rate(f"unlabelled sample, {_DEVICE}", times, "weak", "plain", unit, work=work),
        rate(
            "unlabelled sample, fast pipeline, normalised on the CPU too", times, "normalized", "plain", unit, work=work
        ),
        counted("unlabelled sample, size between processes", _mb(ours("fast")(0)), _mb(plain(0)), "MB"),
        counted(
            f"unlabelled sample, {_DEVICE}, size between processes",
            _mb(ours("fast", looks_only=True)(0)),
            _mb(plain(0)),
            "MB",
        ),
    ]


def _ood(files: list[tuple[Path, Path]], side: int, size: Size) -> list[Row]:
    """Here both read the label as well."""
    labels = MaskFiles({image.stem: mask for image, mask in files}, _READER)
    records = [Record(image.stem, image, None) for image, _ in files]

    def ours(pipeline: str, *, looks_only: bool = False) -> Callable[[int], OpenVocab]:
        augment = Augment(side, pipeline=pipeline, looks_only=looks_only)
        read = partial(read_ood, labels=labels, scores=False, read=_READ[pipeline])
        return lambda k: augment.ood(*read(records[k % len(records)]), 2, ItemDraws(k))

    def plain(k: int) -> dict[str, Any]:
        return plain_loader.item(*files[k % len(files)], side, k, ood=True)

    _check(plain, ours("reference"), "label")
    work = size.of(24, 3)
    times = alternately(
        size,
        plain=_all(plain, work),
        reference=_all(ours("reference"), work),
        fast=_all(ours("fast"), work),
        weak=_all(ours("fast", looks_only=True), work),
    )
    unit = "samples / CPU s"
    return [
        rate("OOD sample, reference pipeline", times, "reference", "plain", unit, work=work),
        rate("OOD sample, fast pipeline", times, "fast", "plain", unit, work=work),
        rate(f"OOD sample, {_DEVICE}", times, "weak", "plain", unit, work=work),
        counted("OOD sample, size between processes", _mb(ours("fast")(0)), _mb(plain(0)), "MB"),
    ]


def _all(make: Callable[[int], object], count: int) -> Callable[[], None]:
    def run() -> None:
        for k in range(count):
            make(k)

    return run


def _check(plain: Callable[[int], dict[str, Any]], ours: Callable[[int], Any], field: str) -> None:
    """Both pipelines must make the same views from the same seed, or the comparison is worth nothing."""
    for k in range(4):
        a, b = plain(k), ours(k)
        if field == "label":
            assert torch.equal(a["label"], b.label.long())
        for x, y in zip((a["weak"], *a["strong"]), (b.weak, *b.strong), strict=True):
            levels = (x * torch.tensor(_STD).view(3, 1, 1) + torch.tensor(_MEAN).view(3, 1, 1)) * 255
            assert (levels - y).abs().max() <= 2


def _mb(value: Any) -> float:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() / 1e6
    parts = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple)
        else vars(value).values()
    )
    return sum(_mb(part) for part in parts)
