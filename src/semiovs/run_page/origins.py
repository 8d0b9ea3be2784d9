"""Where the settings of a run come from, and under which licences its weights are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from semiovs.config import LoadedConfig, load_config
from semiovs.config.layers import DEFAULT
from semiovs.config.load import ABSENT, find_differences
from semiovs.config.schema import Config
from semiovs.config.yaml_reader import format_inline
from semiovs.errors import SemiovsError
from semiovs.models.encoders import describe_encoder
from semiovs.models.weight_catalog import Weights, catalogue, find_restricted
from semiovs.store.meta import StoreMeta

#: Characters of a value that are shown.
_LONGEST = 200
#: The encoder and the teacher whose weights are in the package.
_SHIPPED = ("small",)


@dataclass(frozen=True)
class Setting:
    """A setting that is not the default; origin: where its value was given, such as ``my.yaml:12``."""

    key: str
    value: str
    default: str
    origin: str


def list_settings(loaded: LoadedConfig) -> list[Setting]:
    """Settings of a run that are not the defaults; those of its presets come last.

    loaded: as read from its ``config.yaml``, which notes the origin of each value in a comment.
    """
    names = [f"{section}.name={format_inline(getattr(loaded.config, section).name)}" for section in ("model", "method")]
    written = _read_comments(loaded)
    found = [
        Setting(d.key, _format(d.right), "" if d.left == ABSENT or d.key == "data.root" else _format(d.left), origin)
        for d in find_differences(load_config(None, names), loaded)
        if d.right != ABSENT and (origin := written[d.key]) != DEFAULT
    ]
    return sorted(found, key=lambda setting: setting.origin.startswith("preset "))


def _read_comments(loaded: LoadedConfig) -> dict[str, str]:
    """Key -> the origin that stands beside it in the file."""
    lines = loaded.text.splitlines()
    found = {}
    for key, origin in loaded.origins.items():
        number = origin.rpartition(":")[2]
        line = lines[int(number) - 1] if number.isdecimal() and 0 < int(number) <= len(lines) else ""
        found[key] = line.rpartition("  # ")[2] if "  # " in line else origin
    return found


def _format(value: Any) -> str:
    text = format_inline(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def list_weights(config: Config) -> Iterator[tuple[str, str]]:
    """What the run starts from or learns from, and what is known of the licence of these weights."""
    encoder, chosen = config.model.options.get("encoder"), config.model.pretrained
    if chosen is True and isinstance(encoder, str):
        yield f"encoder {encoder}", _describe_licence(encoder, describe_encoder(encoder))
    elif isinstance(chosen, str):
        yield f"encoder from {Path(chosen).name}", _describe_licence("", _find_by_file(chosen))
    if config.model.init_from:
        started = config.model.init_from
        yield f"training started from {started}", _describe_licence("", _find_by_file(started))
    teacher = _read_teacher(config)
    if teacher is not None:
        options = teacher.get("options")
        values = [teacher.get("weights"), *(options.values() if isinstance(options, dict) else ())]
        rows = (_find_by_file(value) for value in values if isinstance(value, str))
        name = str(teacher.get("name", "without a name"))
        yield f"teacher {name} of the OOD labels", _describe_licence(name, next(filter(None, rows), None))


def _describe_licence(name: str, row: Weights | None) -> str:
    if row is not None:
        licence = f"licence {row.licence}" if row.licence else "its source states no licence that we know"
        return "; ".join(filter(None, [row.what, licence, row.restricts, row.source]))
    if name in _SHIPPED:
        return "comes with semiovs, under its licence (Apache-2.0)"
    if (known := find_restricted(name)) is not None:  # a teacher that does not tell which of its weights it has
        return f"its published weights: licence {known.licence}; {known.restricts}"
    return "not in the catalogue of weights, so its licence is not known here"


def _read_teacher(config: Config) -> Mapping[str, Any] | None:
    """What labelled the OOD images; None for a folder of masks, or where the labels are gone."""
    if config.ood is None or not config.ood.labels:
        return None
    try:
        return StoreMeta.read(_find_labels(config)).teacher
    except SemiovsError:
        return None


def _find_labels(config: Config) -> Path:
    """The labels of the OOD images; a relative path starts in the folder of the data."""
    assert config.ood is not None
    return Path(config.data.root).expanduser() / Path(config.ood.labels or "").expanduser()


def _find_by_file(path: str) -> Weights | None:
    """The row of a file, a repository or a checksum."""
    known = {path, Path(path).name} - {""}
    rows = catalogue().values()
    return next((row for row in rows if known & {row.name, row.file, row.hub, row.sha256}), None)


def find_cards(run: Path, config: Config, start: Path) -> list[tuple[str, str]]:
    """Pages of teachers that lie beside a run, its data or its OOD labels: path, and link from the folder `start`."""
    folders = [run, run.resolve().parent, Path(config.data.root).expanduser(), Path.cwd()]
    if config.ood is not None and config.ood.labels:
        folders.append(_find_labels(config))
    places = [place for folder in folders for place in (folder / "card.html", folder / "teacher-card" / "card.html")]
    found = dict.fromkeys(place.resolve() for place in places if place.is_file())
    return [(str(place), quote(os.path.relpath(place, start.resolve()))) for place in found]
