"""The teacher that is asked for: by name, with weights and options, or the one at hand (``auto``)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiovs.config.option_texts import parse_map, parse_set
from semiovs.errors import DataError, UsageError, WeightsError
from semiovs.progress import Say
from semiovs.registry import DATASETS, TEACHERS, lookup
from semiovs.vocab.rules import require_words

if TYPE_CHECKING:
    from semiovs.config.schema import Config
    from semiovs.data.collection import Collection
    from semiovs.ovs.at_hand import KnownTeacher
    from semiovs.ovs.base import OpenVocabModel
    from semiovs.vocab.vocabulary import Vocabulary

#: The name that stands for the teacher at hand.
AUTO = "auto"
#: Told what can be fetched; whether to fetch it, None if there is nobody to ask.
Agree = Callable[[str], bool | None]


@dataclass(frozen=True)
class TeacherChoice:
    """A teacher as it was asked for.

    root: folder of existing masks or score maps; map, pairs: as typed, see `parse_map` and `parse_set`; values: further
    options, as they are.
    """

    name: str
    weights: Path | None = None
    root: Path | None = None
    map: Sequence[str] | None = None
    pairs: Sequence[str] = field(default_factory=list)
    values: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> OpenVocabModel:
        """Make the teacher.

        Raises:
            UsageError: an option that does not hold; WeightsError: no weights.
        """
        from semiovs.ovs import build_ovs

        options = self.options()
        if "weights" in options:
            raise UsageError("--set weights=…: give the file with --weights FILE")
        if self.root is not None and "root" not in lookup(TEACHERS, self.name, kind="teacher").options:
            raise UsageError(f"--from {self.root}: for masks or scores that exist (--teacher masks), not '{self.name}'")
        return build_ovs(self.name, weights=self.weights, **options)

    def resolve(
        self, vocabulary: Vocabulary, *, answers: Path | None = None, ids: Iterable[str] = (), agree: Agree, say: Say
    ) -> TeacherChoice:
        """The teacher that ``auto`` stands for; any other stays.

        In this order: the masks in the folder `answers`, if it has one for each of `ids`; a teacher whose weights are
        here; one from the hub, if the user agrees. say: told which one it is.

        Raises:
            UsageError: `auto` with options, or nobody agreed; ConfigError: classes without words; WeightsError: there
            is none, and what to do.
        """
        if self.name != AUTO:
            return self
        if self.weights or self.root or self.map or self.pairs or self.values:
            raise UsageError("--teacher auto chooses weights and options; name the teacher that these options are of")
        if answers is not None and _has_masks(answers, ids):
            say(f"--teacher auto: the masks in {answers}")
            return TeacherChoice("masks", root=answers)
        require_words(vocabulary.prompts)
        found = _find_known(agree)
        choice = TeacherChoice(found.name, Path(found.weights) if found.weights else None, pairs=found.pairs)
        say(f"--teacher auto: {found.facts}: {shlex.join(choice.arguments())}")
        return choice

    def can_label(self, ids: Iterable[str]) -> bool:
        """Whether it can label these images: any other than `masks` can, and that one those that it has."""
        return self.name != "masks" or (self.root is not None and _has_masks(self.root, ids))

    def options(self) -> dict[str, Any]:
        """Options of the teacher by name."""
        options = parse_set(self.pairs)
        if self.root is not None:
            options["root"] = str(self.root)
        if self.map:
            options["map"] = parse_map(self.map)
        return {**options, **self.values}

    def list_places(self) -> list[Path]:
        """Files and folders that the teacher comes from: weights, answers, and those of an ensemble's members."""
        options = self.options()
        members = options.get("members")
        rows = [row for row in members if isinstance(row, dict)] if isinstance(members, list) else []
        named = [self.weights, options.get("root"), options.get("weights"), *(row.get("weights") for row in rows)]
        inner = (row["options"].get("root") for row in rows if isinstance(row.get("options"), dict))
        return [Path(str(place)) for place in (*named, *inner) if place is not None]

    def arguments(self, *, same_images: bool = False) -> list[str]:
        """The options as typed, for the next command; ``--from`` and ``--map`` only if that asks about the same
        images.
        """
        typed = ["--teacher", self.name, *(["--weights", str(self.weights)] if self.weights else [])]
        if same_images:
            typed += [*(["--from", str(self.root)] if self.root else [])]
            typed += (part for text in self.map or () for part in ("--map", text))
        return [*typed, *(part for pair in self.pairs for part in ("--set", pair))]


def read_teacher_list(texts: Sequence[str], root: Path | None = None) -> list[tuple[str, TeacherChoice]]:
    """Teachers by title: of texts like ``a,b``, or YAML files with a list of {name, weights, options}.

    root: of existing masks or score maps, for a teacher `masks` that names none. Where a name is there twice, titles
    tell the options, too.

    Raises:
        UsageError: a row that does not hold; ConfigError: a file that cannot be read.
    """
    from semiovs.ovs.teacher_rows import TeacherRow, read_teacher_rows

    rows: list[TeacherRow] = []
    for text in texts:
        if Path(text).suffix.lower() in (".yaml", ".yml"):
            rows += read_teacher_rows(Path(text), f"--teachers {text}", weighted=False)
        else:
            rows += [TeacherRow(name.strip()) for name in text.split(",") if name.strip()]
    names = [row.name for row in rows]
    found: dict[str, TeacherChoice] = {}
    for row in rows:
        options = dict(row.options)
        told = ", ".join(f"{key}={value}" for key, value in {**options, "weights": row.weights}.items() if value)
        title = row.name if names.count(row.name) == 1 else f"{row.name} ({told or 'as it is'})"
        if title in found:
            raise UsageError(f"--teachers: {title} is given twice")
        place = Path(str(options.pop("root"))) if "root" in options else (root if row.name == "masks" else None)
        pairs = [f"{key}={json.dumps(value)}" for key, value in options.items()]
        found[title] = TeacherChoice(row.name, Path(row.weights) if row.weights else None, place, pairs=pairs)
    return list(found.items())


def find_answers(config: Config) -> Path | None:
    """The folder `ood.labels` of a configuration, whether it is there or not; None without OOD images."""
    if config.ood is None or config.ood.labels is None:
        return None
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, config.ood)
    root: Path = dataset.root
    return root / config.ood.labels


def read_labeled_images(
    config: Config, teacher: TeacherChoice, *, agree: Agree, say: Say
) -> tuple[Collection, TeacherChoice]:
    """Read only the labelled images of a configuration; also returns the teacher to ask (`TeacherChoice.resolve`)."""
    found: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).labeled()
    ids = (record.id for record in found.labeled)
    resolved = teacher.resolve(found.vocabulary, answers=find_answers(config), ids=ids, agree=agree, say=say)
    return found, resolved


def _has_masks(folder: Path, ids: Iterable[str]) -> bool:
    """Whether a folder of masks, which is no store, has one for every image."""
    from semiovs.ovs.masks import MasksTeacher
    from semiovs.store.meta import is_store

    if is_store(folder):
        return False
    try:
        masks = MasksTeacher(folder)
    except DataError:  # no folder, or no masks
        return False
    found = [masks.version(identifier) != "" for identifier in ids]
    return bool(found) and all(found)


def _find_known(agree: Agree) -> KnownTeacher:
    """A teacher whose weights are here, or are fetched now."""
    from semiovs.models.weight_catalog import explain_download
    from semiovs.models.weight_files import pull
    from semiovs.ovs import at_hand

    if (known := at_hand.find_here()) is not None:
        return known
    byhand = explain_download(at_hand.suggest_download().row)
    other = "or give masks of your own (--teacher masks --from DIR); see docs/guides/choosing.md"
    if (known := at_hand.find_on_hub()) is None:
        raise WeightsError(f"--teacher auto: no teacher is here, and there is no network: {byhand}; {other}")
    offer = f"no teacher is here; {known.facts} can be fetched from {known.row.source}"
    agreed = agree(offer)
    if agreed is None:
        raise UsageError(f"--teacher auto: {offer}: agree with --yes, {other}")
    if not agreed:
        raise UsageError(f"--teacher auto: nothing was fetched; name a teacher, {other}")
    pull(known.row)
    return known
