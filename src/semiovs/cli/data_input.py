"""What `data check` and `data stats` are given: a configuration, a folder without one, or a single list."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.progress import progress
from semiovs.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from semiovs.audit.audit import Audit
    from semiovs.config.schema import Config
    from semiovs.data.collection import Collection
    from semiovs.vocab.vocabulary import Vocabulary

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG|DIR|LIST] [KEY=VALUE]...",
        help="Preset, YAML file, folder, or one list of images; then values on top.",
    ),
]
Threads = Annotated[int, typer.Option(min=0, help="Threads that decode; 0: one for each processor.")]

#: Folders above a list in which its paths may start.
_ABOVE = 4


@dataclass(frozen=True)
class Given:
    """What to look at.

    source: as it was typed; collection: the images; root: what relative paths start from; yaml: the file that the source is, if
    any; named: whether the classes are the user's, not numbers in their place.
    """

    source: str
    collection: Collection
    root: Path
    yaml: Path | None = None
    named: bool = True


def given(arguments: Sequence[str]) -> Given:
    """Find the images.

    Raises:
        UsageError: a configuration that does not hold; DataError: no images at all.
    """
    from semiovs.config import load_config, split_source

    source, overrides = split_source(arguments)
    path = None if source is None else Path(source).expanduser()
    if path is not None and _is_list(path):
        return _of_list(path, overrides)
    if (
        path is not None
        and path.is_dir()
        and not any((path / name).is_file() for name in ("config.yaml", "semiovs.yaml"))
    ):
        return _of_folder(path, overrides)
    config = load_config(source, overrides).config
    collection, root, named = _collected(config)
    file = None
    if path is not None:
        file = next((p for p in (path, path / "config.yaml", path / "semiovs.yaml") if p.is_file()), None)
    return Given(source or "", collection, root, file, named)


def _is_list(path: Path) -> bool:
    """A list, tars or a data set; folders and configurations are none."""
    from semiovs.images.source import names_container

    if path.is_file():
        return path.suffix.lower() not in {".yaml", ".yml"}
    return not path.is_dir() and names_container(path)


def audited(found: Given, *, threads: int, shown: bool = True) -> Audit:
    """The pass over all images, with a bar."""
    from semiovs.audit.audit import audit

    with progress("checking", shown=shown) as show:
        return audit(found.collection, threads=threads or None, named=found.named, progress=show)


def _collected(config: Config) -> tuple[Collection, Path, bool]:
    from semiovs.data.collection import Collection
    from semiovs.images.findings import Finding, of_error
    from semiovs.images.masks import MaskReader
    from semiovs.registry import DATASETS, lookup

    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, config.ood)
    root = Path(getattr(dataset, "root", config.data.root))
    if not hasattr(dataset, "collect"):
        try:
            return Collection.of(dataset.sources()), root, True
        except DataError as error:
            vocabulary = dataset.vocabulary()
            findings = of_error(error, "list")
            return Collection(vocabulary, MaskReader(vocabulary.names), findings=findings), root, True
    try:
        dataset.vocabulary()
    except ConfigError as error:
        vocabulary, reader = _numbers()
        found: Collection = dataset.collect(vocabulary, reader)
        found.findings.append(Finding("classes", "error", str(error), where="data.classes"))
        return found, root, False
    return dataset.collect(), root, True


def _numbers() -> tuple[Vocabulary, object]:
    """Classes for masks whose values nobody has named."""
    from semiovs.images.masks import MaskReader
    from semiovs.vocab.vocabulary import Vocabulary

    names = tuple(str(value) for value in range(255))
    return Vocabulary(names), MaskReader(names)


def _of_folder(path: Path, overrides: Sequence[str]) -> Given:
    """A folder without a configuration: as `semiovs init` would set it up; nothing is written into it."""
    from semiovs.cli.init import chosen_classes, starter
    from semiovs.config import load_config
    from semiovs.config.source import inline
    from semiovs.files import write_text
    from semiovs.images.discover.discover import discover
    from semiovs.images.findings import Finding

    seen = discover(path)
    classes = chosen_classes(seen, None)
    with tempfile.TemporaryDirectory() as folder:
        text = starter(seen, classes, root=path.resolve().as_posix())
        write_text(Path(folder) / "semiovs.yaml", text)
        made = []
        for role, name in seen.lists.items():
            if name in seen.made:
                write_text(Path(folder) / Path(name).name, seen.made[name])
                made.append(f"data.{role}={inline(str(Path(folder) / Path(name).name))}")
        config = load_config(str(Path(folder) / "semiovs.yaml"), [*made, *overrides]).config
        collection, root, named = _collected(config)
    _without_origin(collection, Path(folder))
    if not seen.labeled:
        collection.findings = [f for f in collection.findings if (f.stream, f.kind) != ("labelled", "list-missing")]
    text = f"{path}: no semiovs.yaml; checked as `semiovs init {path}` would set it up"
    collection.findings.append(Finding("config-none", "note", text, where=str(path)))
    return Given(str(path), collection, root, named=named and (isinstance(classes, str) or classes.named))


def _without_origin(collection: Collection, folder: Path) -> None:
    """Lists that were made for the moment are no place to send a person to."""
    from dataclasses import replace

    from semiovs.images.manifest import Manifest

    for name, stream in collection.streams.items():
        if stream.manifest.origin is not None and stream.manifest.origin.parent == folder:
            plain = Manifest(stream.manifest, stream.manifest.root)
            collection.streams[name] = replace(stream, manifest=plain)


def _of_list(path: Path, overrides: Sequence[str]) -> Given:
    """One list: of labelled images if it names masks, else of bare ones, as those of tars and data sets are."""
    from semiovs.config import load_config
    from semiovs.config.source import inline
    from semiovs.data.collection import LABELED, UNLABELED, Collection
    from semiovs.datasets.folder import FolderDataset
    from semiovs.images.allowed_folders import Bounds
    from semiovs.images.manifest import Manifest
    from semiovs.images.masks import MaskReader
    from semiovs.images.source import names_container, read_source

    contained = names_container(path)
    rooted = any(override.startswith("data.root=") for override in overrides)
    first = [] if rooted else [f"data.root={inline(str(Path.cwd() if contained else _root_of(path)))}"]
    config = load_config(None, [*first, *overrides]).config
    if config.data.name != "folder":
        raise UsageError(f"{path}: a single list is checked as data.name=folder")
    dataset = FolderDataset(config.data)
    root, named = dataset.root, True
    try:
        vocabulary = dataset.vocabulary()
        masks = MaskReader.from_config(config.data.masks, vocabulary)
    except ConfigError:
        (vocabulary, masks), named = _numbers(), False  # type: ignore[assignment]
    collection = Collection(vocabulary, masks)
    if contained:
        collection.add(UNLABELED, lambda: (read_source(path), []))
        return Given(str(path), collection, root, named=named)
    within = None if config.data.outside else Bounds([root])
    manifest, findings = Manifest.examine(path, root, within=within)
    masked = any(record.mask is not None for record in manifest)
    collection.add(LABELED if masked else UNLABELED, lambda: (manifest, findings))
    return Given(str(path), collection, root, named=named)


def _root_of(path: Path) -> Path:
    """The folder, of the list or above it, in which its first image lies."""
    from semiovs.images.manifest import Manifest

    start = path.resolve().parent
    for folder in [start, *list(start.parents)[:_ABOVE]]:
        manifest, _ = Manifest.scan(path, folder)
        if manifest and manifest[0].image.is_file():
            return folder
    return start
