"""``semiovs vocab``: show, check and compare vocabularies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, error, format_swatch, format_table, log, out, report
from semiovs.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from semiovs.vocab import Vocabulary
    from semiovs.vocab.compare import VocabularyComparison

vocab = typer.Typer(
    help="Show, check and compare vocabularies: classes, their concepts, colours.",
    add_completion=False,
    rich_markup_mode=None,
)

#: Concepts of a class and mistakes in masks that are shown without --all.
_SHOWN = 6

_Name = Annotated[
    str, typer.Argument(metavar="VOCABULARY", help="Shipped name, YAML file or text file of class names.")
]


@vocab.command()
def show(
    name: _Name,
    every: Annotated[bool, typer.Option("--all", help="Show every concept.")] = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print a YAML file to start your own from.")] = False,
    as_json: Json = False,
) -> None:
    """Print ids, names, concepts and colours, and the hash that stores carry."""
    from semiovs.vocab import Vocabulary
    from semiovs.vocab.yaml_writer import to_yaml

    if as_yaml and as_json:
        raise UsageError("--yaml and --json: choose one")
    found = Vocabulary.load(name)
    if as_yaml:
        out(to_yaml(found).rstrip("\n"))
        return
    colors = found.shown_colors
    rows = [
        (index, class_name, format_swatch(colors[index]), _format_concepts(found, index, every=every))
        for index, class_name in enumerate(found.names)
    ]
    facts = [
        f"{len(found)} classes, {len(found.prompts)} concepts, hash {found.hash}",
        f"templates: {'; '.join(found.templates) if found.templates else 'those of the teacher'}",
        f"names that mean 255 in masks: {', '.join(found.ignore)}" if found.ignore else "",
    ]
    text = "\n".join([format_table(["id", "class", "colour", "concepts"], rows), *filter(None, facts)])
    data = {"name": name, "hash": found.hash, "prompts": len(found.prompts), "background": None, **found.as_json()}
    report({**data, "colors": colors}, as_json=as_json, text=text)


def _format_concepts(vocabulary: Vocabulary, index: int, *, every: bool) -> str:
    concepts = vocabulary.concepts[index]
    if not concepts:
        return f"(constant score {vocabulary.background})"
    shown = concepts if every or len(concepts) <= _SHOWN + 2 else concepts[:_SHOWN]
    more = f" | … {len(concepts) - len(shown)} more (--all)" if len(shown) < len(concepts) else ""
    return " | ".join(shown) + more


@vocab.command()
def check(
    names: Annotated[list[str], typer.Argument(metavar="VOCABULARY...", help="Shipped names, YAML or text files.")],
    masks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of masks whose values must be ids of the classes.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 for warnings too.")] = False,
    as_json: Json = False,
) -> None:
    """Check vocabularies: errors exit with 2 (masks that do not fit: 3), probable mistakes are warnings."""
    from semiovs.vocab import Vocabulary
    from semiovs.vocab.advice import list_warnings

    results: list[dict[str, Any]] = []
    bad_masks = False
    for name in names:
        try:
            found = Vocabulary.load(name)
        except ConfigError as failure:
            error(str(failure))
            results.append({"vocabulary": name, "ok": False, "problems": str(failure).splitlines(), "warnings": []})
            continue
        seen = None if masks is None else _check_masks(masks, found)
        warnings = [*list_warnings(found), *(seen["warnings"] if seen else [])]
        problems = seen["problems"] if seen else []
        bad_masks |= bool(problems)
        for line in warnings:
            log(f"warning: {name}: {line}")
        for line in problems[:_SHOWN]:
            error(line)
        facts = {"classes": len(found), "concepts": len(found.prompts), "hash": found.hash}
        results.append(
            {"vocabulary": name, "ok": not problems, "problems": problems, "warnings": warnings, **facts}
            | ({"pixels": seen["pixels"]} if seen else {})
        )
    report(results, as_json=as_json, text="\n".join(_format_verdict(result) for result in results))
    if not all(result["ok"] for result in results) or (strict and any(result["warnings"] for result in results)):
        only_masks = bad_masks and all("hash" in result for result in results)
        raise typer.Exit(DataError.exit_code if only_masks else ConfigError.exit_code)


def _format_verdict(result: dict[str, Any]) -> str:
    warned = f", {len(result['warnings'])} warning(s)" if result["warnings"] else ""
    if "hash" not in result:
        return f"{result['vocabulary']}: wrong"
    counts = f"{result['classes']} classes, {result['concepts']} concepts, hash {result['hash']}"
    state = "ok" if result["ok"] else f"{len(result['problems'])} mask(s) do not fit"
    return f"{result['vocabulary']}: {state} ({counts}){warned}"


def _check_masks(folder: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    """Read a folder of masks: pixels per class, masks that do not fit, and signs of another order of classes."""
    import numpy as np

    from semiovs.images.conventions import MASK_SUFFIXES
    from semiovs.images.folder_walk import walk_files
    from semiovs.images.masks import MaskReader

    files = sorted(walk_files(folder, MASK_SUFFIXES))
    if not files:
        raise DataError(f"--masks {folder}: no masks there ({', '.join(MASK_SUFFIXES)})")
    reader = MaskReader(vocabulary.names)
    counts = np.zeros(256, np.int64)
    problems: list[str] = []
    hints: list[str] = []
    for path in files:
        try:
            here = np.bincount(reader(path).ravel(), minlength=256)
        except DataError as failure:
            problems.append(str(failure))
            continue
        counts += here
        if not hints:
            hints += _compare_palette(path, vocabulary, np.flatnonzero(here[: len(vocabulary)]).tolist())
    pixels = {name: int(count) for name, count in zip(vocabulary.names, counts, strict=False)}
    absent = [name for name, count in pixels.items() if not count]
    if absent and not problems:
        hints.append(f"classes that are in none of the {len(files)} masks: {', '.join(absent)}")
    return {"pixels": pixels, "problems": problems, "warnings": hints}


def _compare_palette(path: Path, vocabulary: Vocabulary, ids: Sequence[int]) -> Iterator[str]:
    """Warn if a mask's palette gives a class the colour of another one: the classes may be in another order."""
    from semiovs.images.image import open_image
    from semiovs.vocab.colors import voc_color

    with open_image(path) as image:
        flat = image.getpalette() if image.mode == "P" else None
    tables = [vocabulary.shown_colors]
    if not vocabulary.colors:  # many programs paint so
        tables.append(tuple(voc_color(index) for index in range(len(vocabulary))))
    for index, colors in product(ids, tables):
        painted = tuple((flat or [])[3 * index : 3 * index + 3])
        if painted and painted != colors[index] and painted in colors:
            other = vocabulary.names[colors.index(painted)]
            yield (
                f"{path}: value {index} has the colour of '{other}' but is the id of '{vocabulary.names[index]}'; "
                "are the classes listed in another order?"
            )
            return


@vocab.command()
def diff(
    left: Annotated[str, typer.Argument(metavar="LEFT", help="Shipped name, YAML or text file.")],
    right: Annotated[str, typer.Argument(metavar="RIGHT", help="Shipped name, YAML or text file.")],
    as_json: Json = False,
) -> None:
    """Print what differs, whether labels are interchangeable, and whether a store can be continued."""
    from semiovs.vocab import Vocabulary
    from semiovs.vocab.compare import VocabularyComparison

    found = VocabularyComparison(Vocabulary.load(left), Vocabulary.load(right))
    data = {
        "changes": [vars(change) for change in found.changes],
        "settings": {key: {"left": a, "right": b} for key, (a, b) in found.settings.items()},
        "same_labels": found.same_labels,
        "same_store": found.same_store,
        "mask_map": None if found.same_labels else found.mask_map,
    }
    report(data, as_json=as_json, text="\n".join(_format_comparison(found, left, right)))


def _format_comparison(found: VocabularyComparison, left: str, right: str) -> Iterator[str]:
    from semiovs.config.yaml_reader import format_inline

    rows: list[tuple[Any, ...]] = [(c.kind, c.name, c.left, c.right, c.detail) for c in found.changes]
    rows += [(key, "", "", "", f"{a} → {b}") for key, (a, b) in found.settings.items()]
    yield format_table(["what", "class", left, right, "detail"], rows) if rows else "no difference"
    yield "labels: " + (
        "interchangeable (same names in the same order)"
        if found.same_labels
        else f"not interchangeable: {found.left.difference(found.right)}"
    )
    yield "stores: " + (
        "the same hash, labelling goes on" if found.same_store else "another hash, labels need a store of their own"
    )
    if not found.same_labels:
        yield f"to read masks with ids of {left}: data.masks.map: {format_inline(found.mask_map)}"
