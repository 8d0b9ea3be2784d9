"""The images that `data check` and `data stats` read: of a configuration, a folder without one, or a single list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.progress import progress
from semiovs.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from semiovs.audit.audit import Audit, Inspect
    from semiovs.data.collection import Collection
    from semiovs.datasets.dataset import Dataset
    from semiovs.images.discover.survey import Survey
    from semiovs.images.source import Reading

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG|DIR|LIST] [KEY=VALUE]...",
        help="Preset, YAML file, folder, or one list of images; then values on top.",
    ),
]
Threads = Annotated[int, typer.Option(min=0, help="Threads that decode; 0: one for each processor.")]

#: The configuration in the directory of a run.
RUN_CONFIG = "config.yaml"
_CONFIGS = (RUN_CONFIG, "semiovs.yaml")


@dataclass(frozen=True)
class DataInput:
    """The images that the arguments of a verb name.

    source: as it was typed; collection: the images; root: start of relative paths; yaml: the configuration file, if
    any; method: of the configuration, if there is one; named: whether the classes have names of the user, and not
    numbers in their place.
    """

    source: str
    collection: Collection
    root: Path
    yaml: Path | None = None
    method: str | None = None
    named: bool = True

    @property
    def writable(self) -> bool:
        """Whether the configuration is a file of the user's, and not that of a run."""
        return self.yaml is not None and self.yaml.name != RUN_CONFIG


def find_data(arguments: Sequence[str]) -> DataInput:
    """List the images that the arguments name.

    Raises:
        UsageError: a configuration that does not hold; DataError: no images at all.
    """
    from semiovs.config import load_config, split_source
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments)
    path = None if source is None else Path(source).expanduser()
    if path is not None and _is_list(path):
        return _read_list(path, overrides)
    if path is not None and path.is_dir() and not any((path / name).is_file() for name in _CONFIGS):
        return _read_folder(path, overrides)
    config = load_config(source, overrides).config
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, config.ood)
    collection, named = _examine(dataset)
    return DataInput(source or "", collection, dataset.root, find_yaml(source), config.method.name, named)


def find_yaml(source: str | None) -> Path | None:
    """The file that a configuration is read from; None if that is a preset, or there is none."""
    if source is None:
        return None
    path = Path(source).expanduser()
    return next((place for place in (path, *(path / name for name in _CONFIGS)) if place.is_file()), None)


def require_yaml(source: str | None, option: str) -> Path:
    """The user's YAML file that `option` changes.

    Raises:
        UsageError: a preset, the configuration of a run, or nothing.
    """
    found = find_yaml(source)
    if found is None or found.name == RUN_CONFIG:
        raise UsageError(f"{option} changes a YAML file, and '{source or ''}' is none; write one: semiovs init DIR")
    return found


def audit_data(found: DataInput, *, threads: int, shown: bool = True, inspect: Inspect | None = None) -> Audit:
    """Check all images, with a progress bar; inspect: as `semiovs.audit.audit.audit`."""
    from semiovs.audit.audit import audit

    with progress("checking", shown=shown) as show:
        return audit(found.collection, threads=threads or None, named=found.named, progress=show, inspect=inspect)


def _is_list(path: Path) -> bool:
    """Whether a path is a list, tars or a Hugging Face data set, and not a folder or configuration."""
    from semiovs.images.source import is_container

    if path.is_file():
        return path.suffix.lower() not in {".yaml", ".yml"}
    return not path.is_dir() and is_container(path)


def _examine(dataset: Dataset, *, required: bool = True, **chosen: Any) -> tuple[Collection, bool]:
    """List the images of a data set; also returns whether its classes have names.

    Missing class names are replaced by numbers; required: report missing names as a finding.
    """
    from semiovs.images.findings import Finding
    from semiovs.images.masks import MaskReader
    from semiovs.vocab.vocabulary import Vocabulary

    try:
        dataset.vocabulary()
    except ConfigError as error:
        numbers = tuple(str(value) for value in range(255))
        found = dataset.examine(vocabulary=Vocabulary(numbers), masks=MaskReader(numbers), **chosen)
        if required:
            found.findings.append(Finding("classes", "error", str(error), where="data.classes"))
        return found, False
    return dataset.examine(**chosen), True


def _read_folder(path: Path, overrides: Sequence[str]) -> DataInput:
    """List the images of a folder without a configuration, as `semiovs init` would set it up; nothing is written."""
    from semiovs.config import load_config
    from semiovs.config.paths import PATHS
    from semiovs.config.yaml_reader import format_inline
    from semiovs.data.collection import LABELED
    from semiovs.datasets.folder import FolderDataset
    from semiovs.images.discover.discover import discover
    from semiovs.images.discover.starter import choose_classes, list_settings
    from semiovs.images.findings import Finding

    seen = discover(path)
    classes = choose_classes(seen, None)
    root = path.resolve()
    values = {
        key: (root / value).as_posix()
        if key in PATHS and isinstance(value, str)
        else value  # not the working directory
        for key, value in list_settings(seen, classes, root=".").items()
    }
    config = load_config(None, [*(f"{key}={format_inline(value)}" for key, value in values.items()), *overrides]).config
    dataset = FolderDataset(config.data, config.ood, lists=_read_unwritten_lists(seen, root, config.data.outside))
    collection, named = _examine(dataset)
    if not seen.labeled:
        collection.findings = [f for f in collection.findings if (f.stream, f.kind) != (LABELED, "list-missing")]
    text = f"{path}: no semiovs.yaml; checked as `semiovs init {path}` would set it up"
    collection.findings.append(Finding("config-none", "note", text, where=str(path)))
    collection.findings += [Finding("folder-note", "note", note, where=str(path)) for note in seen.notes]
    named = named and (isinstance(classes, str) or classes.named)
    return DataInput(str(path), collection, dataset.root, named=named)


def _read_unwritten_lists(seen: Survey, root: Path, outside: bool) -> dict[str, Reading]:
    """Stream -> images of the lists that `semiovs init` would write."""
    from semiovs.data.collection import KEYS
    from semiovs.images.allowed_folders import AllowedFolders
    from semiovs.images.manifest import Manifest

    within = None if outside else AllowedFolders([root])
    streams = {key.removeprefix("data."): stream for stream, key in KEYS.items()}
    return {
        streams[role]: Manifest.examine_lines(
            enumerate(seen.made[name].splitlines(), 1), root, name=name, within=within
        )
        for role, name in seen.lists.items()
        if name in seen.made
    }


def _read_list(path: Path, overrides: Sequence[str]) -> DataInput:
    """List the images of one list: labelled if it names masks, else unlabelled, as are those of tars and data sets."""
    from semiovs.config import load_config
    from semiovs.config.yaml_reader import format_inline
    from semiovs.data.collection import LABELED, UNLABELED
    from semiovs.datasets.folder import FolderDataset
    from semiovs.images.source import find_list_root, is_container

    root = Path(load_config(None, overrides).config.data.root)
    contained = is_container(path)
    start = root if contained else find_list_root(path, root)
    stream = UNLABELED if contained or not _names_masks(path, start) else LABELED
    key = "data.labeled" if stream == LABELED else "data.unlabeled"
    given = [f"data.root={format_inline(str(start))}", f"{key}={format_inline(str(path.absolute()))}"]
    config = load_config(None, [*overrides, *given]).config
    if config.data.name != "folder":
        raise UsageError(f"{path}: a single list is checked as data.name=folder")
    dataset = FolderDataset(config.data)
    collection, named = _examine(dataset, required=False, streams=(stream,))
    return DataInput(str(path), collection, dataset.root, named=named)


def _names_masks(path: Path, start: Path) -> bool:
    """Whether a list names masks."""
    from semiovs.images.manifest import Manifest

    manifest, _ = Manifest.examine(path, start)
    return any(record.mask is not None for record in manifest)
