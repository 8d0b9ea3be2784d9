"""``semiovs convert``: convert published checkpoints to semiovs models, and back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, report
from semiovs.cli.next_steps import format_next
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.models.published_checkpoints import Imported
    from semiovs.vocab.vocabulary import Vocabulary


_Source = Annotated[
    Path, typer.Argument(metavar="FILE", help="Published checkpoint; with --export: run directory or semiovs model.")
]
_To = Annotated[
    Path, typer.Option("--to", metavar="OUT", help="A .safetensors file or a directory; with --export a .pth file.")
]
_Family = Annotated[
    str | None, typer.Option(metavar="NAME", help="Layout or method of the checkpoint; default: recognised.")
]
_Preset = Annotated[
    str | None, typer.Option(metavar="PRESET", help="Preset to take classes and evaluation settings from.")
]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Segmenter options that cannot be read from the tensors; may be repeated."
    ),
]


def convert(
    source: _Source,
    to: _To,
    family: _Family = None,
    classes: Annotated[str | None, typer.Option(metavar="VOC", help="Vocabulary: a shipped name or a file.")] = None,
    preset: _Preset = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Entry of the file to read, such as model_ema.")
    ] = None,
    set_: _Set = None,
    export: Annotated[str | None, typer.Option(metavar="reference", help="Write for the reference programs.")] = None,
    ddp: Annotated[bool, typer.Option("--ddp", help="With --export: names begin with `module.`.")] = False,
    which: Annotated[str | None, typer.Option("--model", help="With --export: student or ema.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    as_json: Json = False,
) -> None:
    """Convert a published checkpoint, whose tensors must all fit; `--export reference` converts the other way."""
    if export is not None:
        _refuse_options(
            {"--family": family, "--classes": classes, "--preset": preset, "--key": key, "--set": set_},
            "without --export",
        )
        if export != "reference":
            raise UsageError(f"--export {export}: there is only 'reference'")
        _export(source, to, ddp=ddp, which=which, overwrite=overwrite, as_json=as_json)
        return
    _refuse_options({"--ddp": ddp, "--model": which}, "with --export")
    out = to if to.suffix == ".safetensors" else to / "model.safetensors"
    _require_free(out, overwrite)

    from semiovs.config.option_texts import parse_set
    from semiovs.files import sha256_of
    from semiovs.models.published_checkpoints import read_published
    from semiovs.models.weights import ModelCard, save_model

    evaluation, preset_classes = _read_preset(preset)
    imported = read_published(source, family=family, key=key, options=parse_set(set_ or []))
    vocabulary = _find_vocabulary(classes or preset_classes, imported.blueprint.num_classes)
    digest = sha256_of(source)
    card = ModelCard(
        imported.blueprint.segmenter,
        imported.blueprint.num_classes,
        vocabulary,
        options=imported.blueprint.options,
        normalization=imported.segmenter.normalization,
        evaluation=evaluation,
        training={"converted_from": source.name, "sha256": digest, "family": imported.report.family},
    )
    save_model(out, imported.segmenter, card)
    _report_conversion(source, out, imported, card.as_json() | {"sha256": digest}, as_json=as_json)


def _report_conversion(source: Path, out: Path, imported: Imported, card: Mapping[str, Any], *, as_json: bool) -> None:
    loaded = imported.report
    parameters = sum(p.numel() for p in imported.segmenter.parameters())
    data = {
        "source": str(source),
        "out": str(out),
        "what": imported.what,
        "family": loaded.family,
        "sha256": card["sha256"],
        "segmenter": card["segmenter"],
        "options": card["options"],
        "num_classes": card["num_classes"],
        "classes": card["vocabulary"],
        "tensors": len(loaded.loaded),
        "renamed": list(loaded.renamed),
        "parameters": parameters,
    }
    rows = [
        ("checkpoint", f"{source}, {imported.what}"),
        ("family", loaded.family),
        ("segmenter", f"{card['segmenter']} {card['options']}, {parameters:,} parameters"),
        ("tensors", f"{len(loaded.loaded)} fit, 0 missing, 0 left over, {len(loaded.renamed)} renamed"),
        ("written", str(out)),
    ]
    model = shlex.quote(str(out))
    steps = [
        f"# CONFIG: a preset or YAML with images of these classes: semiovs evaluate {model} CONFIG",
        f"# IMAGES: files and folders: semiovs predict {model} IMAGES",
    ]
    text = "\n".join([format_table(["", "what"], rows), format_next(steps)])
    report({**data, "next": steps}, as_json=as_json, text=text)


def _export(source: Path, out: Path, *, ddp: bool, which: str | None, overwrite: bool, as_json: bool) -> None:
    if out.suffix not in {".pth", ".pt"}:
        raise UsageError(f"--to {out}: the reference programs read a .pth file")
    _require_free(out, overwrite)

    from semiovs.files import sha256_of
    from semiovs.models.published_checkpoints import write_published
    from semiovs.models.weights import load_model

    segmenter, card = load_model(source, which=which)
    family = write_published(out, segmenter, ddp=ddp)
    tensors = len(segmenter.state_dict())
    data = {
        "source": str(source),
        "out": str(out),
        "family": family,
        "tensors": tensors,
        "sha256": sha256_of(out),
        "classes": list(card.vocabulary.names),
    }
    report(
        data, as_json=as_json, text=f"{out}: {tensors} tensors as {family}, classes {', '.join(card.vocabulary.names)}"
    )


def _refuse_options(options: Mapping[str, Any], where: str) -> None:
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} is for a conversion {where}")


def _require_free(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: is there already; give --overwrite, or another --to")


def _read_preset(preset: str | None) -> tuple[dict[str, Any], str | None]:
    """How the preset evaluates (see `ModelCard.evaluation`), and its shipped vocabulary."""
    if preset is None:
        return {}, None
    from semiovs.config import load_config

    config = load_config(preset).config
    evaluation = config.eval.model_dump(include={"mode", "window", "stride", "multiple", "scales", "flip"})
    evaluation["window"] = evaluation["window"] or config.data.crop_size
    return evaluation, config.data.classes if isinstance(config.data.classes, str) else None


def _find_vocabulary(name: str | None, count: int) -> Vocabulary:
    """The vocabulary called `name`; None: the only shipped one of that many classes.

    Raises:
        UsageError: none, several, or one with another number of classes.
    """
    from semiovs.vocab import Vocabulary, shipped_vocabularies

    if name is None:
        fitting = {known: v for known in shipped_vocabularies() if len(v := Vocabulary.load(known)) == count}
        if len({v.names for v in fitting.values()}) != 1:
            several = f" ({', '.join(fitting)} have as many)" if fitting else ""
            raise UsageError(f"the checkpoint has {count} classes: say which with --classes VOC{several}")
        return next(iter(fitting.values()))
    vocabulary = Vocabulary.load(name)
    if len(vocabulary) != count:
        raise UsageError(f"--classes {name}: {len(vocabulary)} classes, but the checkpoint has {count}")
    return vocabulary
