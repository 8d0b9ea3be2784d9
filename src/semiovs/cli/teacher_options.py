"""Options of the verbs that run a teacher (label, calibrate, card, select), and their parsers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from semiovs.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from semiovs.calibration.calibration import Rare
    from semiovs.data.collection import Collection
    from semiovs.ovs import OpenVocabModel

_Class = TypeVar("_Class", bound=int | str)

Labeled = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CONFIG [KEY=VALUE]...", help="Configuration with labelled images (data.labeled) and classes."
    ),
]
Teacher = Annotated[str, typer.Option(help="Teacher that labels (semiovs list teachers).")]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="DIR", help="Teacher masks: folder of existing masks or score maps."),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="Teacher masks: class of each value, '7=road,8=ignore', or a YAML file with them; may be repeated.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="OPTION=VALUE", help="Any other option of the teacher; may be repeated."),
]
Weights = Annotated[Path | None, typer.Option(help="Weights of the teacher.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch of the teacher; reduced if memory runs out.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads that read images, and as many that write labels; default: one per core."),
]
Shard = Annotated[
    str,
    typer.Option(
        metavar="I/N", help="Label every N-th image from the I-th on (from 0); the processes of torchrun share them."
    ),
]
Risk = Annotated[float, typer.Option(help="Largest allowed share of wrong pixels among the kept ones of a class.")]
RareClasses = Annotated[
    str,
    typer.Option(
        metavar="global|ignore", help="Classes with too few images: use the common threshold, or ignore them."
    ),
]
Folds = Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")]


@dataclass(frozen=True)
class TeacherChoice:
    """A teacher as given on the command line: name, ``--weights``, ``--from``, ``--map`` and ``--set``."""

    name: str
    weights: Path | None = None
    root: Path | None = None
    map: Sequence[str] | None = None
    pairs: Sequence[str] = field(default_factory=list)

    def build(self) -> OpenVocabModel:
        """Make the teacher.

        Raises:
            UsageError: an option that does not hold; WeightsError: no weights.
        """
        from semiovs.ovs import build_ovs

        return build_ovs(self.name, weights=self.weights, **self.options())

    def options(self) -> dict[str, Any]:
        """Options of the teacher by name."""
        options = parse_set(self.pairs)
        if self.root is not None:
            options["root"] = str(self.root)
        if self.map:
            options["map"] = parse_map(self.map)
        return options

    def arguments(self, *, same_images: bool = False) -> list[str]:
        """The options as typed, for the next command; ``--from`` and ``--map`` only if that asks about the same
        images.
        """
        typed = ["--teacher", self.name, *(["--weights", str(self.weights)] if self.weights else [])]
        if same_images:
            typed += [*(["--from", str(self.root)] if self.root else [])]
            typed += (part for text in self.map or () for part in ("--map", text))
        return [*typed, *(part for pair in self.pairs for part in ("--set", pair))]


def parse_set(pairs: Iterable[str]) -> dict[str, Any]:
    """Values of ``--set OPTION=VALUE`` by name, read as YAML, or as text where they are none.

    Raises:
        UsageError: no such pair, or an option with two values.
    """
    import yaml

    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: expected KEY=VALUE, like dilations=[6,12,18]")
        if given.setdefault(key, text) != text:
            raise UsageError(f"--set: '{key}' is given twice, as '{given[key]}' and as '{text}'; give it once")
    options: dict[str, Any] = {}
    for key, text in given.items():
        try:
            options[key] = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError):
            options[key] = text
    return options


def parse_map(texts: Sequence[str]) -> dict[str, int | str]:
    """Join the values of ``--map``: each ``7=road,8=ignore``, ``128,64,128=road;0,0,0=ignore``, or a YAML file.

    Raises:
        UsageError: one that does not hold, or a value with two classes; ConfigError: the same in a file.
    """
    return join_maps(pair for text in texts for pair in _parse_one_map(text))


def join_maps(pairs: Iterable[tuple[str, _Class]]) -> dict[str, _Class]:
    """Join the (value, class) of options that may be repeated.

    Raises:
        UsageError: a value with two classes.
    """
    mapping: dict[str, _Class] = {}
    for value, name in pairs:
        if mapping.setdefault(value, name) != name:
            raise UsageError(f"--map: '{value}' is given twice, as '{mapping[value]}' and as '{name}'; give it once")
    return mapping


def _parse_one_map(text: str) -> Iterable[tuple[str, int | str]]:
    from semiovs.config.yaml_reader import read_yaml

    path = Path(text)
    if path.suffix in {".yaml", ".yml"}:
        data = read_yaml(path)
        if not isinstance(data, dict):
            raise ConfigError(f"--map {text}: expected lines 'value: class'")
        return [(str(key), value) for key, value in data.items()]
    pairs: list[tuple[str, int | str]] = []
    key: list[str] = []
    for part in re.split("[,;]", text):
        value, equals, name = part.partition("=")
        key.append(value.strip())
        if equals:
            pairs.append((",".join(key), name.strip()))
            key = []
    if key or not all(name for _, name in pairs):
        raise UsageError(f"--map {text}: expected '7=road,8=ignore' or a YAML file")
    return pairs


def parse_rare(text: str) -> Rare:
    """Value of ``--rare``."""
    if text == "global":
        return "global"
    if text == "ignore":
        return "ignore"
    raise UsageError(f"--rare {text}: global or ignore")


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of ``--shard i/n``."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match:
        raise UsageError(f"--shard {text}: expected I/N, like 0/4")
    return int(match[1]), int(match[2])


def parse_on_error(text: str) -> Literal["fail", "skip"]:
    """Value of ``--on-error``."""
    if text == "fail":
        return "fail"
    if text == "skip":
        return "skip"
    raise UsageError(f"--on-error {text}: skip or fail")


def read_labeled_images(arguments: Sequence[str]) -> Collection:
    """Read only the labelled images of the configuration."""
    from semiovs.config import load_config, split_source
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        raise UsageError("give a configuration with labelled images, or data.root=DIR")
    config = load_config(source, overrides).config
    found: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).labeled()
    return found
