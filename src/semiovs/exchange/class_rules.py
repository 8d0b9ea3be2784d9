"""Map the labels in annotation files to classes, background or ignore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from semiovs.errors import ConfigError, DataError, did_you_mean
from semiovs.exchange.annotation_file import shorten_text
from semiovs.exchange.annotations import IGNORE_NAME, Annotations
from semiovs.exchange.problems import ProblemList, explain_undrawn
from semiovs.images.conventions import IGNORE
from semiovs.vocab.vocabulary import Vocabulary

#: Names that some tools use for "not labelled" and for the background class.
_IGNORED = ("__ignore__", "void", "unlabeled")
_BACKGROUND = ("_background_", "__background__")


@dataclass(frozen=True)
class ClassRules:
    """The rules by which shapes become class ids.

    vocabulary: the classes; map: label in the file -> class, or ``ignore``; rest: class of pixels without a shape, or
    ``ignore``; crowd_ignored: whether COCO's crowds are ignored, instead of counting as their class.

    Raises:
        ConfigError: `map` or `rest` names no class.
    """

    vocabulary: Vocabulary
    map: Mapping[str, str] = field(default_factory=dict)
    rest: str = IGNORE_NAME
    crowd_ignored: bool = True

    def __post_init__(self) -> None:
        for key, name in [*((f"--map {label}", name) for label, name in self.map.items()), ("--rest", self.rest)]:
            if self.id_of(name) is None:
                raise ConfigError(f"{key}={name}: no such class{self._suggest_class(name)}")

    def id_of(self, label: str) -> int | None:
        """Class id of a label; 255 for ignore, None if it is unknown."""
        names = self.vocabulary.names
        name = self.map.get(label, label)
        if name in names:
            return names.index(name)
        if name == IGNORE_NAME or name in self.vocabulary.ignore or name in _IGNORED:
            return IGNORE
        if name in _BACKGROUND and "background" in names:
            return names.index("background")
        return None

    def ids(self, annotations: Annotations, problems: ProblemList) -> dict[str, int]:
        """Ids of all labels that are used; each unknown label is one problem."""
        found = {}
        for label, places in annotations.used().items():
            value = self.id_of(label)
            if value is None:
                shown = shorten_text(label)
                problems.add(
                    places[0],
                    f"'{shown}' ({len(places)} shapes) is no class{self._suggest_class(label)}; say what it is: "
                    f"--map '{shown}=CLASS' or --map '{shown}=ignore'",
                )
            found[label] = IGNORE if value is None else value
        return found

    def _suggest_class(self, name: str) -> str:
        return did_you_mean(name, [*self.vocabulary.names, IGNORE_NAME])


def find_declared_classes(annotations: Annotations) -> Vocabulary:
    """Find the classes that a file declares, in its order, or else those that it uses, sorted by name.

    Raises:
        DataError: it holds no class.
    """
    labels = annotations.labels or sorted(annotations.used())
    names = [label for label in labels if label != IGNORE_NAME and label not in _IGNORED]
    if not names and annotations.skipped:
        raise DataError(explain_undrawn(annotations.skipped))
    if not names:
        raise DataError("no class is declared or used in the annotations; name the classes: --classes a,b,c")
    return Vocabulary.of(names)
