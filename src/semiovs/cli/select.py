"""``semiovs select``: choose OOD images worth labelling from a pool of images."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiovs.cli import select_options as options
from semiovs.cli import teacher_options
from semiovs.cli.console import Engine, Json, Workers, format_table, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.config.schema import Config
    from semiovs.data.collection import Collection
    from semiovs.images.manifest import Manifest
    from semiovs.images.record import Record
    from semiovs.select.candidates import InvalidEntry
    from semiovs.select.class_reader import ClassReader
    from semiovs.select.decision import SelectionRules
    from semiovs.select.scan import Examiner, ScanResult
    from semiovs.select.scan_table import ScanTable
    from semiovs.select.selection import SelectionRequest


@dataclass(frozen=True)
class _RayScan:
    """A scan on a Ray cluster. build: makes the examiner of an actor; workers: largest number of actors."""

    build: Callable[[], Examiner]
    workers: int | None


@dataclass(frozen=True)
class _SelectTask:
    """Everything that a selection needs.

    said: arguments as they were typed; listing: how lists are read (`list_candidates`); ray: the cluster that looks,
    None: this process.
    """

    pool: Sequence[str]
    out: Path
    examiner: Examiner
    wanted: SelectionRequest
    class_reader: ClassReader
    said: Sequence[str]
    threads: int | None
    listing: Mapping[str, Any]
    ray: _RayScan | None = None

    def candidates(self, say: Callable[[str], None] = lambda line: None) -> Iterator[Record | InvalidEntry]:  # noqa: ARG005
        """The images to choose from; say: told what is not read."""
        from semiovs.select.candidates import list_candidates

        return list_candidates(self.pool, skip=self.out, say=say, **self.listing)

    @property
    def readers(self) -> int:
        """Threads that read images."""
        from semiovs.ovs.label import choose_threads

        return self.threads or choose_threads()

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the selection for the report."""
        return {
            "from": list(self.pool),
            "vocabulary": self.examiner.vocabulary.hash,
            "share": self.examiner.share,
            "teacher": {"name": self.class_reader.name, **self.examiner.identity},
            "embedding": self.examiner.embedding[0] or "built-in",
        }

    @property
    def next(self) -> str:
        """The next command: train if the images have labels, else label."""
        reader, chosen = self.class_reader, (self.out / "manifest.jsonl").absolute()
        words = [*self.said, f"ood.images={chosen}", "data.outside=true"]  # the pool lies anywhere
        if reader.masks is not None:
            return shlex.join(["semiovs", "train", *words, f"ood.labels={reader.masks.absolute()}"])
        asked = reader.options or ("--teacher", "NAME")
        command = shlex.join(["semiovs", "label", *words, "--out", str(self.out / "labels"), *asked])
        return (
            command
            if reader.options
            else f"# NAME: the teacher that labels them, from those of `list teachers`: {command}"
        )


def select(
    arguments: options.Arguments = None,
    from_: options.Pool = None,
    out: options.Out = None,
    budget: options.Budget = None,
    teacher: options.Teacher = None,
    scores: options.Scores = None,
    map_: options.Map = None,
    set_: teacher_options.Set = None,
    weights: teacher_options.Weights = None,
    targets: options.Targets = None,
    against: options.Against = None,
    license_: options.License = None,
    rule: options.Rule = "balanced",
    recall: options.Recall = 0.95,
    share: options.Share = 0.01,
    near: options.Near = None,
    encoder: options.Encoder = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 8,
    shard: options.Shard = None,
    threads: options.Threads = None,
    engine: Engine = "local",
    workers: Workers = None,
    yes: teacher_options.Yes = False,
    as_json: Json = False,
) -> None:
    """Choose OOD images: on topic, no copies, no leaks, classes balanced. A repeated call continues."""
    from semiovs.clusters.ray_cluster import wants_ray
    from semiovs.select.class_reader import TypedClassReader, build_examiner

    if out is None or not from_:
        raise UsageError("give --from FOLDER (or a list) and --out DIR")
    on_ray = wants_ray(engine, workers, instead="start several with --shard I/N")
    near = near if near is not None else _default_near(encoder)
    _require_shares(recall=recall, share=share, near=near)
    config, sources = _load_images(arguments or [])
    typed = TypedClassReader(teacher, scores, map_, set_ or [], weights)
    class_reader = typed.resolve(sources.vocabulary, agree=teacher_options.make_agree(yes=yes), say=log)
    rules = _make_rules(rule, class_reader, budget=budget, seed=seed, near=near)
    listing = {"root": config.data.root, "outside": config.data.outside}
    wanted = _make_wanted(sources, targets or [], against or [], tuple(license_ or ()), recall, rules, listing)
    build = partial(build_examiner, sources.vocabulary, class_reader, share, encoder, batch_size)
    place = Path(out).expanduser()
    ray = _RayScan(build, workers) if on_ray else None
    task = _SelectTask(from_, place, build(), wanted, class_reader, arguments or [], threads, listing, ray)
    if shard is None:
        _choose_images(task, as_json=as_json)
    else:
        _scan_part(task, shard, as_json=as_json)


def _require_shares(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value <= 1:
            raise UsageError(f"--{name} {value:g}: between 0 and 1")


def _default_near(encoder: str | None) -> float:
    from semiovs.select.decision import NEAR, NEAR_BY_ENCODER

    return NEAR if encoder is None else NEAR_BY_ENCODER


def _load_images(arguments: Sequence[str]) -> tuple[Config, Collection]:
    """Load the configuration and its images."""
    from semiovs.config import load_config, split_source
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        raise UsageError(
            "give a configuration, or data.root=DIR: its classes are wanted, its images must not be chosen"
        )
    config = load_config(source, overrides).config
    return config, lookup(DATASETS, config.data.name, kind="data set").load()(config.data).read()


def _make_rules(name: str, class_reader: ClassReader, **rules: Any) -> SelectionRules:
    from semiovs.select.decision import SelectionRules

    if name not in {"balanced", "paper"}:
        raise UsageError(f"--rule {name}: balanced or paper")
    if name == "paper" and class_reader.build is None:
        raise UsageError("--rule paper: asks for classes; give --teacher or --scores")
    return SelectionRules(rule="paper" if name == "paper" else "balanced", **rules)


def _make_wanted(
    sources: Collection,
    targets: Sequence[str],
    against: Sequence[str],
    licenses: tuple[str, ...],
    recall: float,
    rules: Any,
    listing: Mapping[str, Any],
) -> SelectionRequest:
    from semiovs.select.selection import SelectionRequest

    names = sources.vocabulary.names
    if not targets:
        first_is_ground = sources.vocabulary.background is not None or names[0].casefold() == "background"
        chosen = names[1:] if first_is_ground and len(names) > 1 else names
    else:
        chosen = tuple(dict.fromkeys(name.strip() for text in targets for name in text.split(",")))
        for name in chosen:
            sources.vocabulary.index(name)
    roles = {"evaluation": sources.val, "held-out": sources.held_out, "labelled": sources.labeled}
    others: dict[str, Manifest] = {role: images for role, images in roles.items() if images}
    for path in against:
        others[f"--against {path}"] = _read_against(path, listing)
    return SelectionRequest(chosen, others, sources.labeled, sources.masks, licenses, recall, rules)


def _read_against(path: str, listing: Mapping[str, Any]) -> Manifest:
    """Read a folder or list of ``--against``; lines that do not hold are errors: their images would not be excluded."""
    from semiovs.images.manifest import Manifest
    from semiovs.select.candidates import InvalidEntry, list_candidates

    images, wrong = [], []
    for image in list_candidates([path], whole=True, **listing):
        if isinstance(image, InvalidEntry):
            wrong.append(image.why)
        else:
            images.append(image)
    if wrong or not images:
        raise DataError.of(
            wrong or [f"--against {path}: no images there"], f"--against {path}: {len(wrong)} lines do not hold"
        )
    return Manifest((replace(image, mask=None) for image in images), path)


def _scan_images(task: _SelectTask, shard: tuple[int, int]) -> tuple[ScanTable, ScanResult, float]:
    """Scan the images that were not scanned yet; also returns the seconds it took."""
    from semiovs.engine.signals import StopSignals, make_stop_error
    from semiovs.select.scan import scan_pool
    from semiovs.select.scan_table import ScanTable

    started = time.monotonic()
    total = sum(1 for _ in task.candidates(lambda line: log(f"note: {line}")))
    if not total:
        raise DataError(f"--from {' '.join(task.pool)}: no images there")
    scan = ScanTable(task.out / "scan", "pool", task.examiner.settings)
    looked = _scan_on_ray(task, scan, shard) if task.ray is not None else 0
    with StopSignals() as signals, progress("looking") as show:
        done = scan_pool(
            scan,
            task.candidates(),
            task.examiner,
            threads=task.readers,
            shard=shard,
            progress=lambda n: show(n, total),
            stop=lambda: bool(signals.received),
        )
    if done.stopped:
        raise make_stop_error(
            signals.received, f"it was within the first {done.listed} of {total} images; the same command does the rest"
        )
    done.made += looked
    return scan, done, time.monotonic() - started


def _scan_on_ray(task: _SelectTask, pool: ScanTable, shard: tuple[int, int]) -> int:
    """Scan on a Ray cluster what was not scanned yet: the pool, and without ``--shard`` what it is compared with. What
    is there then is all the same; returns the images of the pool that were looked at.
    """
    from semiovs.clusters.ray_scanning import fill_on_ray
    from semiovs.engine.signals import StopSignals, make_stop_error
    from semiovs.select.scan import ImageScan
    from semiovs.select.selection import list_other_scans

    assert task.ray is not None
    others = list_other_scans(pool, task.examiner, task.wanted) if shard == (0, 1) else []
    with StopSignals() as signals, progress("looking on Ray") as show:
        looked = fill_on_ray(
            [ImageScan(pool, task.candidates()), *others],
            task.examiner,
            task.ray.build,
            workers=task.ray.workers,
            shard=shard,
            progress=show,
            stop=lambda: bool(signals.received),
        )
    if signals.received:
        where = f"{sum(looked)} images are done; the same command does the rest"
        raise make_stop_error(signals.received, where)
    return looked[0]


def _scan_part(task: _SelectTask, shard: str, *, as_json: bool) -> None:
    from semiovs.config.option_texts import parse_shard

    scan, done, seconds = _scan_images(task, parse_shard(shard))
    facts = {"shard": shard, "listed": done.listed, "scanned": done.made, "seconds": round(seconds, 3)}
    text = (
        f"{done.made} of {done.listed} images scanned into {scan.folder}; "
        "the same command without --shard chooses, once all parts are scanned"
    )
    report(facts, as_json=as_json, text=text)


def _choose_images(task: _SelectTask, *, as_json: bool) -> None:
    """Scan, choose, write the results and print them."""
    from semiovs.files import write_json
    from semiovs.select.page import write_selection_page
    from semiovs.select.selection import select as decided
    from semiovs.select.selection_files import write_selection

    started = time.monotonic()
    scan, done, seconds = _scan_images(task, (0, 1))
    with progress("comparing") as show:
        found = decided(
            scan, done.marks, task.examiner, task.wanted, threads=task.readers, progress=lambda _, n: show(n, n)
        )
    found.seconds["scan"] = seconds
    written = write_selection(task.out, found, {**task.facts, "scanned": done.made})
    files = write_selection_page(task.out, written, task.next)
    data = {**written.data, "seconds": {**written.data["seconds"], "all": round(time.monotonic() - started, 3)}}
    write_json(task.out / "select.json", data)
    for line in data["references_unreadable"][:10]:
        log(f"warning: not compared with, it cannot be read: {line}")
    text = _format_text(task.out, data, task.next, files[0])
    report({"out": str(task.out), **data, "next": [task.next] if data["chosen"] else []}, as_json=as_json, text=text)


def _format_text(out: Path, data: dict[str, Any], following: str, page: Path) -> str:
    kinds = {name: ", ".join(f"{n} {kind}" for kind, n in some.items() if n) for name, some in data["kinds"].items()}
    rows = [("chosen", data["chosen"], ""), ("unreadable", data["unreadable"], "")]
    rows += [(name, count, kinds.get(name, "")) for name, count in data["dropped"].items() if count]
    lines = [format_table(["", "images", ""], rows, title=f"{data['listed']} images listed")]
    if data["classes"]:
        seen = [(row["name"], row["pool"], row["available"], row["chosen"]) for row in data["classes"]]
        lines.append(format_table(["class", "in the pool", "available", "chosen"], seen))
    if (budget := data["rules"]["budget"]) is not None and data["chosen"] < budget:
        lines.append(f"fewer than --budget {budget}: all images that are left were chosen")
    if data["leaks_chosen"]:
        lines.append(f"{data['leaks_chosen']} chosen images are copies of images that are evaluated or trained on")
    if absent := [row["name"] for row in data["classes"] if not row["available"]]:
        lines.append(f"classes that no image to choose from shows: {', '.join(absent)}")
    if data["thresholds"] and not data["calibrated_on"] and data["rules"]["rule"] == "balanced":
        level = data["thresholds"][0]["level"]
        lines.append(
            f"a class counts from a score of {level:.2f} on: there are no answers for the labelled images to fit it on"
        )
    lines.append(f"{out / 'manifest.jsonl'}: what was chosen; {page}: what was dropped, and why")
    lines.append(format_next([following]) if data["chosen"] else _suggest_change(data["dropped"]))
    return "\n".join(lines)


def _suggest_change(dropped: dict[str, int]) -> str:
    """Suggest what to change when nothing was chosen, by the commonest reason for dropping images."""
    most = max(dropped, key=lambda name: dropped[name])
    ways = {"license": "other --license", "off-topic": "other --targets, or a lower --share or --recall"}
    return f"nothing was chosen, most are '{most}': try {ways.get(most, 'another pool (--from)')}"
