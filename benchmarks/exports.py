"""`python -m benchmarks exports --images DIR`: students of each kind in each format of `semiovs export`, at two sizes,
against the model in torch, one thread of a CPU.

The weights of decoders, and of encoders but `small`, are random: many pixels are nearly a tie of two classes, so that
as many labels as possible are in danger.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import machine
from semiovs.errors import SemiovsError
from semiovs.export.export import export_model
from semiovs.export.request import FORMATS, ExportRequest
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.progress import show_progress
from semiovs.vocab import Vocabulary

OUT = Path("docs/results/export-parity.json")
PRECISIONS = ("fp32", "fp16")
_CLASSES = Vocabulary.of(tuple(f"class {number}" for number in range(11)))
_IMAGES = 4


@dataclass(frozen=True)
class Case:
    """A student. sizes: (height, width) of the images, of a vision transformer those of its files."""

    name: str
    segmenter: str
    options: Mapping[str, Any]
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((241, 322), (360, 480))
    pretrained: bool = False
    fixed: bool = False


_SEMIVL = {"encoder": "tiny", "image_size": 64, "trained": "all", "text": "words", "taps": [0, 1], "channels": 32}
_SEMIVL |= {"up_channels": [32, 16], "skip_channels": [16, 8], "dilations": [1, 2, 3], "pool": 2}
CASES = (
    Case("DeepLabV3+, small", "deeplabv3plus", {"encoder": "small"}, pretrained=True),
    Case("DeepLabV3+, tf_efficientnet_lite0", "deeplabv3plus", {"encoder": "tf_efficientnet_lite0"}),
    Case("DeepLabV3+, resnet101s", "deeplabv3plus", {"encoder": "resnet101s"}, ((120, 160), (241, 322))),
    Case("DPT, vit_tiny_patch16_224", "dpt", {"encoder": "vit_tiny_patch16_224"}, ((224, 224), (320, 448)), fixed=True),
    Case(
        "DPT, vit_small_patch14_dinov2",
        "dpt",
        {"encoder": "vit_small_patch14_dinov2"},
        ((112, 112), (224, 308)),
        fixed=True,
    ),
    Case("SemiVL, tiny", "semivl", _SEMIVL, ((64, 64), (160, 224)), fixed=True),
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks exports", description=__doc__)
    parser.add_argument("--images", type=Path, help="folder of photographs; without it, or --tiny, noise is taken")
    parser.add_argument("--out", type=Path, help=f"JSON file to write; {OUT} without --tiny")
    parser.add_argument(
        "--tiny", action="store_true", help="two students in one format each, to see that everything runs"
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    before = machine.load()
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure(Path(folder), given.images, tiny=given.tiny))
    result = {**machine.described(before, tiny=given.tiny), "rows": rows}
    print("\n".join(table(result)))
    out: Path | None = given.out or (None if given.tiny else OUT)
    machine.write(result, out)
    return 0


def measure(folder: Path, photographs: Path | None, *, tiny: bool) -> Iterator[dict[str, Any]]:
    """One row a student, format, precision and size."""
    for case in (CASES[0], CASES[-1]) if tiny else CASES:
        weights = _write_weights(folder, case)
        for size in case.sizes[:1] if tiny else case.sizes:
            images = _write_images(folder / f"{size[0]}x{size[1]}", photographs, size)
            for to in ("torch" if case.fixed else "onnx",) if tiny else FORMATS:
                for precision in PRECISIONS[:1] if tiny else PRECISIONS:
                    row = _export(case, weights, images, size, to, precision)
                    print(_format_line([row]), file=sys.stderr, flush=True)
                    yield row


def _export(case: Case, weights: Path, images: Path, size: tuple[int, int], to: str, precision: str) -> dict[str, Any]:
    """What `semiovs export` says of a file; of one that it refuses, why."""
    request = ExportRequest(to, precision, size=size if case.fixed else None, images=images, parity_images=_IMAGES)
    row = {"model": case.name, "format": to, "precision": precision, "size": list(size), "refused": None}
    try:
        made = export_model(weights, request, overwrite=True, show=partial(show_progress, shown=False), say=print)
    except SemiovsError as error:
        return {**row, "refused": str(error)}
    parity = made.parity
    numbers = {"agreement": parity.agreement, "confidence": parity.confidence, "megabytes": made.megabytes}
    return {**row, **numbers, "model_ms": parity.model_ms, "file_ms": parity.file_ms, "pixels": parity.pixels}


def _write_weights(folder: Path, case: Case) -> Path:
    """Random weights, with statistics of BatchNorm as a training leaves them: not all zeros and ones."""
    torch.manual_seed(0)
    segmenter = build_segmenter(case.segmenter, num_classes=len(_CLASSES), pretrained=case.pretrained, **case.options)
    if hasattr(segmenter, "prompt"):
        segmenter.prompt(_CLASSES)
    for module in segmenter.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and not case.pretrained:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    card = ModelCard(case.segmenter, len(_CLASSES), _CLASSES, dict(case.options), segmenter.normalization)
    path = folder / f"{case.name.replace(', ', '-')}.safetensors"
    save_model(path, segmenter, card)
    return path


def _write_images(folder: Path, photographs: Path | None, size: tuple[int, int]) -> Path:
    """A few photographs of one size; noise where there are none."""
    if folder.is_dir():
        return folder
    folder.mkdir()
    paths = sorted(photographs.iterdir()) if photographs is not None else []
    generator = np.random.default_rng(0)
    for number in range(_IMAGES):
        if paths:
            with Image.open(paths[number * len(paths) // _IMAGES]) as image:
                picture = image.convert("RGB").resize(size[::-1])
        else:
            picture = Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))
        picture.save(folder / f"{number}.png")
    return folder


def table(result: Mapping[str, Any] | None) -> list[str]:
    """For docs/deploy.md."""
    if result is None:
        return ["*Not yet run.*"]
    load = " to ".join(f"{value:g}" for value in (*result["load"]["before"][:1], *result["load"]["after"][:1]))
    lines = [
        f"Measured on {result['date']}: {result['hardware']['cpu']}, one thread (load average {load}), torch "
        f"{result['versions']['torch']}. The two numbers of a cell are of the two sizes.",
        "",
        "| student | height x width | format | precision | labels equal, % | confidence differs by | ms, torch | "
        "ms, file | MB |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    both: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        both.setdefault((row["model"], row["format"], row["precision"]), []).append(row)
    return [*lines, *(_format_line(rows) for rows in both.values())]


def _format_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of a student in one format and precision, all sizes."""
    first = rows[0]
    cells = [
        [f"{height} x {width}" for height, width in (row["size"] for row in rows)],
        [first["format"]],
        [first["precision"]],
        [_format_share(row) for row in rows],
        [_format(row, "confidence", ".0e") for row in rows],
        [_format(row, "model_ms", ".0f") for row in rows],
        [_format(row, "file_ms", ".0f") for row in rows],
        [_format(first, "megabytes", ".1f")],
    ]
    return f"| {first['model']} | " + " | ".join(", ".join(cell) for cell in cells) + " |"


def _format_share(row: Mapping[str, Any]) -> str:
    """Share of equal labels in percent; of a file that was refused, what its refusal says of it."""
    if not row["refused"]:
        return f"{100 * row['agreement']:.3f}"
    found = re.search(r"([\d.]+) %", row["refused"])
    return f"refused: {found[1] if found else row['refused']}"


def _format(row: Mapping[str, Any], key: str, form: str) -> str:
    return "–" if row["refused"] else format(row[key], form)
