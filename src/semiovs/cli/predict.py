"""``semiovs predict``: pictures in, masks and overlays out."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, error, log, report
from semiovs.cli.progress import progress
from semiovs.cli.teacher_options import on_error_of
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.inference import Prediction, Predictor


@dataclass(frozen=True)
class _Job:
    """One picture and the path, without ending, of what is written for it."""

    image: Path
    target: Path

    def files(self, *, pictures: bool, scores: bool) -> dict[str, Path]:
        """Kind -> file."""
        endings = {"ids": ".png", "color": "_color.png"}
        if pictures:
            endings["overlay"] = "_overlay.jpg"
        if scores:
            endings["scores"] = "_scores.npz"
        return {kind: self.target.with_name(self.target.name + ending) for kind, ending in endings.items()}


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, checkpoint or .safetensors file.")],
    arguments: Annotated[
        list[str], typer.Argument(metavar="IMAGES... [KEY=VALUE]...", help="Files, folders, tars; eval.mode=sliding and the like.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")],
    overlay: Annotated[bool, typer.Option(help="Write the picture with tinted classes and a legend.")] = True,
    scores: Annotated[bool, typer.Option("--scores", help="Write class probabilities, float16 (K, H, W) .npz.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Take the pictures of sub-folders too.")] = False,
    which: Annotated[str | None, typer.Option("--model", help="student or ema; default: ema where there is one.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    on_error: Annotated[str, typer.Option(metavar="skip|fail", help="What to do about a bad picture.")] = "fail",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Segment pictures: per picture an id mask, a coloured mask and an overlay."""
    from semiovs.inference import Predictor

    handling = on_error_of(on_error)
    settings, paths = _split(arguments)
    jobs = list(_jobs(paths, out, recursive=recursive))
    _check(jobs, pictures=overlay, scores=scores, overwrite=overwrite)
    predictor = Predictor.load(model, which=which, device=device, **settings)
    written: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with progress("predicting") as show:
        for done, job in enumerate(jobs, start=1):
            try:
                written.append(_one(job, predictor, pictures=overlay, scores=scores))
            except DataError as failure:
                if handling == "fail":
                    rest = f" ({done - 1} of {len(jobs)} pictures are done; --on-error skip goes past bad ones)"
                    raise DataError(f"{failure}{rest if len(jobs) > 1 else ''}") from None
                failed.append({"image": str(job.image), "reason": str(failure)})
            show(done, len(jobs))
    for item in failed:
        error(f"left out: {item['reason']}")
    if not written:
        raise DataError(f"none of the {len(jobs)} pictures could be read")
    text = f"{out}: {len(written)} pictures segmented, {len(failed)} left out\n{_legend(predictor, written)}"
    report({"out": str(out), "images": written, "failed": failed}, as_json=as_json, text=text)


def _one(job: _Job, predictor: Predictor, *, pictures: bool, scores: bool) -> dict[str, Any]:
    """Segment one picture and write its results."""
    import numpy as np

    from semiovs.files import atomic_write, write_bytes
    from semiovs.inference import id_png, palette_png
    from semiovs.inference import overlay as tinted

    found = predictor(job.image)
    files, colors, names = (
        job.files(pictures=pictures, scores=scores),
        predictor.vocabulary.colors,
        predictor.vocabulary.names,
    )
    made = {"ids": (id_png(found.labels), "PNG"), "color": (palette_png(found.labels, colors), "PNG")}
    if pictures:
        made["overlay"] = (tinted(found.image, found.labels, colors=colors, names=names), "JPEG")
    for kind, (image, form) in made.items():
        encoded = io.BytesIO()  # Pillow writes to files itself, and does not notice when a full disk takes only a part
        image.save(encoded, form, quality=90)
        write_bytes(files[kind], encoded.getvalue())
    if scores:
        with atomic_write(files["scores"]) as file:
            np.savez_compressed(file, scores=found.scores.astype(np.float16))
    return {
        "image": str(job.image),
        **{kind: str(path) for kind, path in files.items()},
        "size": list(found.labels.shape),
        "mean_confidence": round(float(found.confidence.mean()), 4),
        "classes": _shares(found, names),
    }


def _shares(found: Prediction, names: Sequence[str]) -> dict[str, float]:
    """Share of the pixels of each class that occurs."""
    import numpy as np

    counts = np.bincount(found.labels.ravel(), minlength=256)
    return {name: round(float(counts[i] / found.labels.size), 4) for i, name in enumerate(names) if counts[i]}


def _legend(predictor: Predictor, written: Sequence[dict[str, Any]]) -> str:
    """Mean share of each class over all pictures."""
    total: Counter[str] = Counter()
    for item in written:
        total.update(item["classes"])
    shares = ", ".join(f"{name} {100 * share / len(written):.1f}%" for name, share in total.most_common())
    return f"classes: {shares} (of {len(predictor.vocabulary)})"


def _split(arguments: Sequence[str]) -> tuple[dict[str, Any], list[Path]]:
    """``key=value`` arguments as settings of ``eval.*``, and the others as paths."""
    from semiovs.config import load_config

    pairs = [text for text in arguments if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in arguments if text not in pairs]
    if not paths:
        raise UsageError("no pictures: name files or folders")
    loaded = load_config(None, pairs)
    given = [key for key, origin in loaded.origins.items() if origin == "command line"]
    foreign = [key for key in given if not key.startswith("eval.")]
    if foreign:
        raise UsageError(f"{foreign[0]}: predict takes eval.* (mode, window, stride, multiple, scales, flip)")
    values = loaded.values()
    return {key.removeprefix("eval."): values[key] for key in given}, paths


def _jobs(paths: Sequence[Path], out: Path, *, recursive: bool) -> Iterator[_Job]:
    """Pictures with their targets: sub-folders are kept, and the folders' own names where several are given."""
    from semiovs.images.containers.container import exists, split
    from semiovs.images.conventions import IMAGE_SUFFIXES
    from semiovs.images.folder_walk import walk_files
    from semiovs.images.source import names_container, read_source

    several = sum(path.is_dir() for path in paths) > 1
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if names_container(path) and split(path) is None:
            found += [(record.image, Path(record.id)) for record in read_source(path.name, path.parent)]
            continue
        if not path.is_dir():
            if not exists(path):
                raise DataError(f"{path}: no such file or folder")
            found.append((path, Path(path.stem)))
            continue
        images = sorted(p for p in walk_files(path, IMAGE_SUFFIXES, deep=recursive) if p.is_file())
        if not images:
            deeper = "" if recursive else "; --recursive looks into sub-folders"
            raise DataError(f"{path}: no pictures in this folder ({', '.join(IMAGE_SUFFIXES)}){deeper}")
        above = Path(path.resolve().name) if several else Path()
        found += [(image, above / image.relative_to(path).with_suffix("")) for image in images]
    found = list({image.resolve(): (image, target) for image, target in reversed(found)}.values())[::-1]
    names = Counter(target for _, target in found)
    for image, target in found:
        # a.jpg beside a.png: both keep their ending
        yield _Job(image, out / (target if names[target] == 1 else target.with_name(f"{target.name}{image.suffix}")))


def _check(jobs: Sequence[_Job], *, pictures: bool, scores: bool, overwrite: bool) -> None:
    """Raise UsageError if a result would replace a picture, another result, or (without `overwrite`) any file."""
    for job in jobs:
        if job.target.parent.exists() and not job.target.parent.is_dir():
            raise UsageError(f"--out: {job.target.parent} is a file; name a folder")
    inputs = {job.image.resolve() for job in jobs}
    owners: dict[Path, Path] = {}
    there = 0
    for job in jobs:
        for path in job.files(pictures=pictures, scores=scores).values():
            if path.resolve() in inputs:
                raise UsageError(f"{path}: the result would replace a picture; choose another --out")
            first = owners.setdefault(path, job.image)
            if first is not job.image:
                raise UsageError(f"{first} and {job.image} would both be written to {path}; predict them one by one")
            there += path.exists()
    if there and not overwrite:
        raise UsageError(f"{there} of the results are there already; --overwrite replaces them")
    if there:
        log(f"replacing {there} files")
