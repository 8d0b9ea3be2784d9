"""Images in rows of a Hugging Face data set (extra `hf-datasets`): from the hub, from `save_to_disk`, or Parquet files.

`datasets` maps Arrow files into memory, so rows can be read in any order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from semiovs.env import explain_offline
from semiovs.errors import DataError, MissingExtraError
from semiovs.images.containers import SCHEME

_SPEC = re.compile(r"(?P<name>[^:]+)(?::(?P<split>[^:\[\]]+))?(?::(?P<column>[^:]+))?")
_ON_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


class DatasetRows:
    """A `Container` of the rows of one split; the name of a row is its number in eight digits.

    path: of the set, with split and column; the paths of its images begin with it.
    """

    def __init__(self, path: Path, dataset: Any, column: str) -> None:
        self.path = path
        self._all = dataset
        self._column = column
        self._images = _select_encoded(dataset, column)
        self._names = [f"{row:08d}" for row in range(len(dataset))]

    def names(self) -> Sequence[str]:
        """Row numbers."""
        return self._names

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._row_number(name) is not None

    def read(self, name: str) -> bytes:
        """Encoded image of a row.

        Raises:
            DataError: no such row, or a row without an image.
        """
        row = self._row_number(name)
        if row is None:
            raise DataError(f"{self.path}/{name}: the set has rows 00000000 to {len(self._names) - 1:08d}")
        cell = self._images[row][self._column] or {}
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        file = Path(cell.get("path") or "")
        if not (file.is_absolute() and file.is_file()):
            raise DataError(f"{self.path}/{name}: the row holds no image (column '{self._column}')")
        return file.read_bytes()

    def describe(self, name: str) -> Mapping[str, str]:
        """`license` and `source` (or `url`) of a row, where the set has text columns of these names; else the set's
        licence.
        """
        row, whole = int(name), getattr(self._all.info, "license", "")
        found = {"license": whole} if isinstance(whole, str) else {}
        return found | {key: value for key, values in self._texts.items() if (value := values[row])}

    def identity(self, name: str) -> str:
        """The set's files with size and time, column and row."""
        return f"{self._files}\0{self._column}\0{name}"

    @cached_property
    def _files(self) -> str:
        files = [Path(file["filename"]) for file in self._all.cache_files]
        if not files:
            return str(self._all._fingerprint)
        status = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr(status).encode()).hexdigest()

    @cached_property
    def _texts(self) -> dict[str, list[str | None]]:
        kinds = self._all.features
        given = {"license": ("license",), "source": ("source", "url")}
        chosen = {
            key: next((name for name in names if getattr(kinds.get(name), "dtype", "") == "string"), None)
            for key, names in given.items()
        }
        return {key: list(self._all[name]) for key, name in chosen.items() if name is not None}

    def _row_number(self, name: str) -> int | None:
        row = int(name) if len(name) >= 8 and name.isascii() and name.isdecimal() else len(self._names)
        return row if row < len(self._names) and self._names[row] == name else None


def open_rows(path: str) -> DatasetRows:
    """Open the set ``ROOT/hf:NAME[:SPLIT[:COLUMN]]``: a directory or Parquet file NAME under ROOT, else NAME on the
    hub.

    Default of SPLIT: `train`, or the only one; of COLUMN: the only one with images.

    Raises:
        DataError: no such set, split or column; MissingExtraError: `datasets` is not installed.
    """
    before, _, spec = path.rpartition(SCHEME)
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise DataError(f"{SCHEME}{spec}: expected hf:NAME, hf:NAME:SPLIT or hf:NAME:SPLIT:COLUMN")
    name = match["name"]
    split, dataset = _choose_split(name, _load_splits(name, Path(before)), match["split"])
    column = _choose_column(name, dataset, match["column"])
    return DatasetRows(Path(f"{before}{SCHEME}{name}:{split}:{column}"), dataset, column)


def _load_splits(name: str, root: Path) -> Any:
    """All splits by name."""
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(f"{SCHEME}{name} needs datasets; pip install 'semiovs[hf-datasets]'") from None
    place = root / Path(name).expanduser()
    local = place.exists()
    if not local and not _ON_HUB.fullmatch(name):
        raise DataError(f"{SCHEME}{name}: no such directory or Parquet file, and no name on the hub (USER/NAME)")
    try:
        if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            found = datasets.load_from_disk(str(place))
            return found if isinstance(found, dict) else {str(found.split or "train"): found}
        if local and place.is_file():
            return datasets.load_dataset("parquet", data_files=str(place))
        return datasets.load_dataset(str(place) if local else name)
    except Exception as error:  # of any of the five libraries below it
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{SCHEME}{name}: cannot be loaded: {reason}{_suggest_offline(local=local)}") from None


def _suggest_offline(*, local: bool) -> str:
    if local:
        return ""
    if reason := explain_offline():
        return f"; {reason}, so the set must be in the cache (HF_HOME) or in a directory: hf:DIR"
    return "; for a machine without network save the set with save_to_disk and name the directory: hf:DIR"


def _choose_split(name: str, splits: Mapping[str, Any], given: str | None) -> tuple[str, Any]:
    wanted = given or ("train" if "train" in splits or len(splits) != 1 else next(iter(splits)))
    if wanted not in splits:
        raise DataError(
            f"{SCHEME}{name}: no split '{wanted}'; there are {', '.join(splits)}: name one as hf:NAME:SPLIT"
        )
    return wanted, splits[wanted]


def _choose_column(name: str, dataset: Any, given: str | None) -> str:
    import datasets

    kinds = dataset.features
    found = [column for column, kind in kinds.items() if isinstance(kind, datasets.Image)]
    found = found or [c for c, kind in kinds.items() if _holds_bytes(kind)]
    if given is not None and given not in kinds:
        raise DataError(f"{SCHEME}{name}: no column '{given}'; there are {', '.join(kinds)}")
    if given is not None and not (isinstance(kinds[given], datasets.Image) or _holds_bytes(kinds[given])):
        raise DataError(f"{SCHEME}{name}: column '{given}' holds no images; these do: {', '.join(found) or 'none'}")
    if given is None and len(found) != 1:
        what = "several columns hold images" if found else "no column holds images"
        raise DataError(f"{SCHEME}{name}: {what}: {', '.join(found or kinds)}; name one as hf:NAME:SPLIT:COLUMN")
    return given or found[0]


def _holds_bytes(kind: Any) -> bool:
    return getattr(kind, "dtype", "") in {"binary", "large_binary"} or (isinstance(kind, dict) and "bytes" in kind)


def _select_encoded(dataset: Any, column: str) -> Any:
    """Select the image column without decoding: rows are mappings with `bytes` and `path`."""
    import datasets

    return dataset.with_format(None).select_columns([column]).cast_column(column, datasets.Image(decode=False))
