"""``semiovs select``: a pool of images from anywhere in, the OOD images that are worth labelling out."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from semiovs.cli.calibrate import Set, Weights
from semiovs.cli.console import Json, log, report, table
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.data import Manifest, Sources
    from semiovs.data.scan import Scan
    from semiovs.study.scan import Examiner, Scanned
    from semiovs.study.select import Wanted
    from semiovs.vocab import Vocabulary


@dataclass(frozen=True)
class _Eye:
    """Who says which classes an image shows. name: for people; masks: the store or folder that the answers come from."""

    name: str
    teacher: Any
    masks: Path | None = None


def select(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="Its classes are wanted; its images must not be chosen."),
    ] = None,
    from_: Annotated[
        list[str] | None, typer.Option("--from", metavar="FOLDER|LIST", help="Where to choose from; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of manifest.jsonl and the report.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Images to choose; default: all that are good.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Says which classes an image shows (semiovs list teachers).")
    ] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="STORE|FOLDER|none", help="Labels that are there already, instead of a teacher.")
    ] = None,
    map_: Annotated[
        str | None, typer.Option("--map", help="With --scores FOLDER: meaning of values, as in `semiovs label`.")
    ] = None,
    set_: Set = None,
    weights: Weights = None,
    targets: Annotated[str | None, typer.Option(help="Classes a,b,c; default: all but the background.")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER|LIST", help="More images that must not be chosen (a test set); may be repeated."),
    ] = None,
    license_: Annotated[
        list[str] | None, typer.Option("--license", help="Allowed license, as lists name it; may be repeated.")
    ] = None,
    rule: Annotated[str, typer.Option(metavar="balanced|paper", help="paper: every image with a target class.")] = "balanced",
    recall: Annotated[float, typer.Option(help="Share of a class's labelled images that its threshold keeps.")] = 0.95,
    share: Annotated[float, typer.Option(help="Share of the pixels that a class must have.")] = 0.01,
    near: Annotated[float, typer.Option(help="Cosine from which on two pictures are copies.")] = 0.95,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME[=FILE]", help="Compare by a trained encoder; default: by a built-in description.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice among equals.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that the teacher sees at once.")] = 8,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only scan the I-th of N parts; without it, choose from all of them.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="So many read images; default: one a core.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Choose OOD images: on topic, no copies, no leaks, classes balanced. Killed or repeated, it does what is left."""
    from semiovs.data.scan import Scan
    from semiovs.ovs.label import default_threads
    from semiovs.study.choice import Rules

    started = time.monotonic()
    if out is None or not from_:
        raise UsageError("give --from FOLDER (or a list) and --out DIR")
    for name, value in (("recall", recall), ("share", share), ("near", near)):
        if not 0 < value <= 1:
            raise UsageError(f"--{name} {value:g}: between 0 and 1")
    sources = _sources(arguments or [])
    eye = _eye(teacher, scores, map_, set_ or [], weights, sources.vocabulary)
    rules = Rules(budget, seed, _rule(rule, eye), near)
    wanted = _wanted(sources, targets, against or [], tuple(license_ or ()), recall, rules)
    examiner = _examiner(sources.vocabulary, eye, share, encoder, batch_size)
    scan, readers = Scan(out / "scan", "pool", examiner.settings), threads or default_threads()
    part = None if shard is None else _shard(shard)
    done, seconds = _scan(scan, from_, examiner, readers, out, part)
    if part is not None:
        again = "the same command without --shard chooses, once all parts are scanned"
        facts = {"shard": shard, "listed": done.listed, "scanned": done.made, "seconds": seconds}
        report(facts, as_json=as_json, text=f"{done.made} of {done.listed} images scanned into {scan.folder}; {again}")
        return
    about: dict[str, Any] = {
        "from": list(from_), "vocabulary": sources.vocabulary.hash, "share": share,
        "teacher": {"name": eye.name, **examiner.identity}, "embedding": examiner.embedding[0] or "built-in",
    }  # fmt: skip
    clock = {"scanned": done.made, "scan": seconds, "started": started}
    following = _following(arguments or [], out, eye, teacher, weights, set_ or [])
    _choose(scan, done, examiner, wanted, readers, out, about, clock, following, as_json=as_json)


def _sources(arguments: Sequence[str]) -> Sources:
    from semiovs.config import load_config, split_source
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        raise UsageError(
            "give a configuration, or data.root=DIR: its classes are wanted, its images must not be chosen"
        )
    config = load_config(source, overrides).config
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data)
    sources: Sources = dataset.sources()
    return sources


def _rule(text: str, eye: _Eye) -> Literal["balanced", "paper"]:
    if text == "balanced":
        return "balanced"
    if text == "paper" and eye.teacher is not None:
        return "paper"
    raise UsageError(
        "--rule paper: asks for classes; give --teacher or --scores"
        if text == "paper"
        else f"--rule {text}: balanced or paper"
    )


def _eye(
    teacher: str | None,
    scores: str | None,
    mapping: str | None,
    pairs: Sequence[str],
    weights: Path | None,
    vocabulary: Vocabulary,
) -> _Eye:
    """Teacher, store, folder of masks, or nobody."""
    from semiovs.cli.label import _options
    from semiovs.ovs import build_ovs
    from semiovs.ovs.stored import StoredTeacher

    if (teacher is None) == (scores is None):
        raise UsageError("say who sees the classes: --teacher NAME, or --scores STORE (or a folder of masks, or none)")
    if scores == "none":
        return _Eye("none", None)
    if teacher is not None:
        return _Eye(teacher, build_ovs(teacher, weights=weights, **_options(None, mapping, pairs)))
    assert scores is not None
    folder = Path(scores).expanduser()
    if (folder / "meta.json").is_file():
        return _Eye("store", StoredTeacher(folder, vocabulary), folder)
    return _Eye("masks", build_ovs("masks", **_options(folder, mapping, pairs)), folder)


def _wanted(
    sources: Sources, targets: str | None, against: Sequence[str], licenses: tuple[str, ...], recall: float, rules: Any
) -> Wanted:
    from semiovs.study.select import Wanted

    names = sources.vocabulary.names
    if targets is None:
        first_is_ground = sources.vocabulary.background is not None or names[0].casefold() == "background"
        chosen = names[1:] if first_is_ground and len(names) > 1 else names
    else:
        chosen = tuple(dict.fromkeys(name.strip() for name in targets.split(",")))
        for name in chosen:
            sources.vocabulary.index(name)
    roles = {"evaluation": sources.val, "held-out": sources.held_out, "labelled": sources.labeled}
    others: dict[str, Manifest] = {role: images for role, images in roles.items() if images}
    for path in against:
        others[f"--against {path}"] = _against(path)
    return Wanted(chosen, others, sources.labeled, sources.masks, licenses, recall, rules)


def _against(path: str) -> Manifest:
    """A folder or list, every line of which must hold: what is not read is not protected."""
    from semiovs.data import Manifest
    from semiovs.data.pool import Unlisted, pool

    images, wrong = [], []
    for image in pool([path]):
        if isinstance(image, Unlisted):
            wrong.append(image.why)
        else:
            images.append(image)
    if wrong or not images:
        raise DataError.of(
            wrong or [f"--against {path}: no images there"], f"--against {path}: {len(wrong)} lines do not hold"
        )
    return Manifest((replace(image, mask=None) for image in images), path)


def _examiner(vocabulary: Vocabulary, eye: _Eye, share: float, encoder: str | None, batch_size: int) -> Examiner:
    from semiovs.study.scan import Examiner

    identity = {} if eye.teacher is None else eye.teacher.describe()
    if encoder is None:
        return Examiner(vocabulary, eye.teacher, identity, share, batch_size=batch_size)
    from semiovs.models.embedding import WIDTH, Embedding

    name, _, file = encoder.partition("=")
    return Examiner(
        vocabulary, eye.teacher, identity, share, Embedding(name, file or True), (encoder, WIDTH), batch_size
    )


def _shard(text: str) -> tuple[int, int]:
    from semiovs.cli.label import _shard as parsed

    return parsed(text)


def _scan(
    scan: Scan, given: Sequence[str], examiner: Examiner, threads: int, out: Path, shard: tuple[int, int] | None
) -> tuple[Scanned, float]:
    """Look at what was not looked at yet."""
    from semiovs.data.pool import pool
    from semiovs.engine.signals import Signals, stop_error
    from semiovs.study.scan import scan_pool

    started = time.monotonic()
    total = sum(1 for _ in pool(given, skip=out))
    if not total:
        raise DataError(f"--from {' '.join(given)}: no images there")
    with Signals() as signals, progress("looking") as show:
        done = scan_pool(
            scan, pool(given, skip=out), examiner, threads=threads, shard=shard or (0, 1),
            progress=lambda n: show(n, total), stop=lambda: bool(signals.received),
        )  # fmt: skip
    if done.stopped:
        raise stop_error(
            signals.received, f"about {done.listed} of {total} images are looked at; the same command does the rest"
        )
    return done, time.monotonic() - started


def _following(
    arguments: Sequence[str], out: Path, eye: _Eye, teacher: str | None, weights: Path | None, pairs: Sequence[str]
) -> str:
    """The next command: train, if the labels are there already, else label."""
    images = f"ood.images={(out / 'manifest.jsonl').absolute()}"
    if eye.masks is not None:
        return shlex.join(["semiovs", "train", *arguments, images, f"ood.labels={eye.masks.absolute()}"])
    said = [] if teacher is None else ["--teacher", teacher]
    said += [] if weights is None else ["--weights", str(weights)]
    said += [part for pair in pairs for part in ("--set", pair)]
    return shlex.join(["semiovs", "label", *arguments, images, *said])


def _choose(
    scan: Scan, done: Scanned, examiner: Examiner, wanted: Wanted, threads: int, out: Path,
    facts: dict[str, Any], clock: dict[str, Any], following: str, *, as_json: bool,
) -> None:  # fmt: skip
    """Decide, write, and tell."""
    from semiovs.files import write_json
    from semiovs.report.selection import write_page
    from semiovs.study.select import select as decided
    from semiovs.study.selected import write_selection

    with progress("comparing") as show:
        found = decided(scan, done.marks, examiner, wanted, threads=threads, progress=lambda _, n: show(n, n))
    found.seconds["scan"] = clock["scan"]
    written = write_selection(out, found, {**facts, "scanned": clock["scanned"]})
    files = write_page(out, written, following)
    data = {
        **written.data,
        "seconds": {**written.data["seconds"], "all": round(time.monotonic() - clock["started"], 3)},
    }
    write_json(out / "select.json", data)
    for line in data["references_unreadable"][:10]:
        log(f"warning: not compared with, it cannot be read: {line}")
    report({"out": str(out), **data, "next": following}, as_json=as_json, text=_text(out, data, following, files[0]))


def _text(out: Path, data: dict[str, Any], following: str, page: Path) -> str:
    kinds = {name: ", ".join(f"{n} {kind}" for kind, n in some.items() if n) for name, some in data["kinds"].items()}
    rows = [("chosen", data["chosen"], ""), ("unreadable", data["unreadable"], "")]
    rows += [(name, count, kinds.get(name, "")) for name, count in data["dropped"].items() if count]
    lines = [table(["", "images", ""], rows, title=f"{data['listed']} images listed")]
    if data["classes"]:
        seen = [(row["name"], row["pool"], row["available"], row["chosen"]) for row in data["classes"]]
        lines.append(table(["class", "in the pool", "available", "chosen"], seen))
    if data["leaks_chosen"]:
        lines.append(f"{data['leaks_chosen']} chosen images are copies of images that are evaluated or trained on")
    if data["chosen"] == 0:
        lines.append("nothing was chosen; see dropped.jsonl, or lower --recall")
    return "\n".join(
        [*lines, f"{out / 'manifest.jsonl'}: what was chosen; {page}: what was dropped, and why", f"next: {following}"]
    )
