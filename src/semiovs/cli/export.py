"""``semiovs export``: a trained model as a file for ONNX runtimes, OpenVINO or `torch.export`, checked against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress

if TYPE_CHECKING:
    from semiovs.export.export import Export

_To = Annotated[str, typer.Option("--to", metavar="onnx|openvino|torch", help="Format of the file.")]
_Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="File to write; default: export/model.* in the run, or by the weights."),
]
_Precision = Annotated[str, typer.Option(metavar="fp32|fp16|int8", help="Numbers of the weights.")]
_Size = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW|free", help="Image size; default: free, or of vision transformers the crop they learnt from."
    ),
]
_Images = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Images to compare on; default: data.val of the run."),
]
_Parity = Annotated[int, typer.Option("--parity-images", metavar="N", help="How many images are compared on.")]
_Which = Annotated[str | None, typer.Option("--model", help="student or ema; default: ema where there is one.")]
_Drop = Annotated[float, typer.Option("--max-drop", metavar="POINTS", help="mIoU that int8 may cost.")]


def export(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, checkpoint or .safetensors file.")],
    to: _To,
    out: _Out = None,
    precision: _Precision = "fp32",
    size: _Size = None,
    raw: Annotated[bool, typer.Option("--raw", help="Normalised float images in, logits out.")] = False,
    opset: Annotated[int, typer.Option(help="Opset of ONNX.")] = 20,
    images: _Images = None,
    parity_images: _Parity = 16,
    max_drop: _Drop = 1.0,
    which: _Which = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Json = False,
) -> None:
    """Write the model as a file that needs no semiovs; it must answer as the model does, or exit code 4 and no file."""
    from semiovs.export.export import export_model
    from semiovs.export.request import ExportRequest, parse_size

    sides, free = parse_size(size)
    request = ExportRequest(
        to=to,
        precision=precision,
        size=sides,
        free=free,
        raw=raw,
        opset=opset,
        parity_images=parity_images,
        images=images,
        max_drop=max_drop,
    )
    made = export_model(source, request, out=out, which=which, overwrite=overwrite, show=progress, say=log)
    step = f"semiovs predict {made.path} IMAGES"
    steps = [f"# with files or folders of your own: {step}"]
    told = {key: value for key, value in made.facts.items() if key != "card"}
    data = {"file": str(made.path), "megabytes": made.megabytes, "model_megabytes": made.model_megabytes, **told}
    report({**data, "next": steps}, as_json=as_json, text=f"{_format_text(made)}\n{format_next(steps)}")


def _format_text(made: Export) -> str:
    """The table of parity, then what the file takes."""
    parity, facts = made.parity, made.facts
    rows = [
        ["labels equal", "", f"{100 * parity.agreement:.3f} %"],
        ["largest difference of confidence", "", f"{parity.confidence:.2g}"],
        ["megabytes", f"{made.model_megabytes:.2f}", f"{made.megabytes:.2f}"],
        ["ms an image", f"{parity.model_ms:.1f}", f"{parity.file_ms:.1f}"],
    ]
    if parity.drop is not None:
        rows.insert(2, ["mIoU, present classes", f"{parity.miou_model:.2f}", f"{parity.miou_file:.2f}"])
    title = (
        f"{facts['format']} {facts['precision']} against torch fp32: {parity.images} images, CPU, "
        f"{parity.threads} thread(s)"
    )
    lines = [format_table(["", "torch", facts["format"]], rows, title=title), f"{made.path}: {facts['size_rule']}"]
    if "int8" in facts:
        kept = facts["int8"]["in_float"]
        lines.append(f"int8: {len(kept)} of {facts['int8']['layers']} layers stayed in float: {', '.join(kept) or '-'}")
    return "\n".join(lines)
