"""Annotations into labelled images: masks, and a list that `data.labeled` takes. All is written, or nothing."""

from __future__ import annotations

import filecmp
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semiovs.data.batch import IGNORE
from semiovs.data.exchange.annotations import IGNORE_NAME, Annotated, Annotations, Size, paint
from semiovs.data.exchange.document import brief
from semiovs.data.exchange.image_index import ImageIndex
from semiovs.data.exchange.problems import Problems
from semiovs.data.image import shown_size
from semiovs.data.label_png import label_png
from semiovs.data.manifest import Manifest, Record
from semiovs.data.palette import palette
from semiovs.errors import ConfigError, DataError, did_you_mean
from semiovs.files import write_bytes
from semiovs.vocab.vocabulary import Vocabulary

#: Names that some tools give to "not labelled" and to the background class.
_IGNORED = ("__ignore__", "void", "unlabeled")
_BACKGROUND = ("_background_", "__background__")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Rules:
    """How shapes become class ids.

    vocabulary: the classes; map: label in the file -> class, or ``ignore``; rest: class of pixels without a shape, or ``ignore``;
    crowd_ignored: whether COCO's crowds are ignored, instead of counting as their class.

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
                raise ConfigError(f"{key}={name}: no such class{self._near(name)}")

    def id_of(self, label: str) -> int | None:
        """Class id of a label, 255 for ignore, None for one that is unknown."""
        names = self.vocabulary.names
        name = self.map.get(label, label)
        if name in names:
            return names.index(name)
        if name == IGNORE_NAME or name in self.vocabulary.ignore or name in _IGNORED:
            return IGNORE
        if name in _BACKGROUND and "background" in names:
            return names.index("background")
        return None

    def ids(self, annotations: Annotations, problems: Problems) -> dict[str, int]:
        """Id of every label that is used; each unknown one is one problem."""
        found = {}
        for label, places in annotations.used().items():
            value = self.id_of(label)
            if value is None:
                shown = brief(label)
                problems.add(
                    places[0],
                    f"'{shown}' ({len(places)} shapes) is no class{self._near(label)}; say what it is: --map '{shown}=CLASS' "
                    f"or --map '{shown}=ignore'",
                )
            found[label] = IGNORE if value is None else value
        return found

    def _near(self, name: str) -> str:
        return did_you_mean(name, [*self.vocabulary.names, IGNORE_NAME])


def declared_classes(annotations: Annotations) -> Vocabulary:
    """The classes that a file declares, in its order; else those that it uses, by name.

    Raises:
        DataError: it holds no class.
    """
    labels = annotations.labels or sorted(annotations.used())
    names = [label for label in labels if label != IGNORE_NAME and label not in _IGNORED]
    if not names:
        raise DataError("no class is declared or used in the annotations; name the classes: --classes a,b,c")
    return Vocabulary.of(names)


@dataclass
class Imported:
    """What came in.

    records: images with their masks; bare: images that the file lists without any shape, left out; pixels: of each value;
    rest: pixels that no shape covered; empty: shapes thinner than a pixel; left_out: images with problems, if they are skipped.
    """

    records: list[Record] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)
    pixels: Counter[int] = field(default_factory=Counter)
    rest: int = 0
    empty: int = 0
    left_out: list[str] = field(default_factory=list)


@dataclass
class Importer:
    """Paints all images of annotations into a folder.

    index: our images; out: folder for ``<id>.png``; source: what records name as theirs; skip: leave images with problems out
    instead of refusing all.
    """

    rules: Rules
    index: ImageIndex
    out: Path
    source: str = ""
    skip: bool = False

    def run(self, annotations: Annotations, problems: Problems, progress: Progress | None = None) -> Imported:
        """Write the masks; the folder appears whole or not at all.

        Raises:
            DataError: `out` is there and not empty, problems (unless `skip`), or no image at all.
        """
        ids = self.rules.ids(annotations, problems)
        done, taken = Imported(), dict[str, str]()
        with _new_folder(self.out) as partial:
            for number, image in enumerate(annotations.images, 1):
                own = Problems()
                with own.collect(image.where):
                    record = self.index.find(image.name, *image.aliases)
                    if record.id in taken:
                        raise DataError(f"image '{record.id}' is in {taken[record.id]} already")
                    taken[record.id] = image.where
                    self._one(image, record, ids, partial, done, own)
                if own:
                    done.left_out.append(image.name)
                    problems.found += own.found
                if progress is not None:
                    progress(number, len(annotations.images))
            if not self.skip or not done.records:
                problems.check("the annotations")
            if not done.records:
                raise DataError(_nothing(annotations, done))
        return done

    def _one(
        self, image: Annotated, record: Record, ids: Mapping[str, int], folder: Path, done: Imported, problems: Problems
    ) -> None:
        rest = self.rules.id_of(self.rules.rest)
        assert rest is not None
        if not image.shapes and rest == IGNORE:
            done.bare.append(record.id)
            return
        size = _agreed(image, record)
        painted = paint(image, size, ids, rest=rest, crowd_ignored=self.rules.crowd_ignored, problems=problems)
        if problems:
            return
        colors = palette(self.rules.vocabulary.colors).tobytes()
        write_bytes(folder / f"{record.id}.png", label_png(painted.label, colors))
        done.records.append(Record(record.id, record.image, self.out / f"{record.id}.png", self.source))
        values, counts = np.unique(painted.label, return_counts=True)
        done.pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        done.rest += painted.bare
        done.empty += painted.empty


def _agreed(image: Annotated, record: Record) -> Size:
    """Size (height, width) of an image, which has to be the one that its annotations are for."""
    width, height = shown_size(record.image)
    if image.size is None or image.size == (height, width):
        return height, width
    turned = " (turned: was it annotated without regard to the EXIF orientation?)" if image.size == (width, height) else ""
    raise DataError(
        f"annotated as {image.size[1]}x{image.size[0]} pixels, but {record.image} is {width}x{height}{turned}; "
        "was it scaled since?"
    )


def _nothing(annotations: Annotations, done: Imported) -> str:
    if done.bare:
        return (
            f"all {len(done.bare)} images are without any shape; is every pixel of them of one class? "
            "then --rest CLASS says which"
        )
    if annotations.untouched:
        return (
            f"none of the {len(annotations.untouched)} tasks was handed in; --predictions takes what the model said, unseen"
        )
    return "no image is annotated"


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` that takes its name once the block is through, and goes if it fails."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path}: is there already; choose another folder, nothing is replaced")
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            path.rmdir()
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def joined(known: Manifest, new: Sequence[Record], where: str) -> Manifest:
    """A labelled list with the new records behind it.

    Raises:
        DataError: an image or an id is in both, or one image has the content of another; all of them are named.
    """
    problems = Problems()
    paths = {_resolved(record.image): record for record in known}
    ids = {record.id for record in known}
    sizes: dict[int, list[Record]] = {}
    for record in known:
        if record.image.is_file():
            sizes.setdefault(record.image.stat().st_size, []).append(record)
    for record in new:
        if _resolved(record.image) in paths:
            problems.add(where, f"{record.image} is labelled there already, as '{paths[_resolved(record.image)].id}'")
        elif record.id in ids:
            problems.add(where, f"has another image of the id '{record.id}' than {record.image}; rename one")
        else:
            same = next((other for other in sizes.get(record.image.stat().st_size, ()) if _same(record, other)), None)
            if same is not None:
                problems.add(where, f"{record.image} is a copy of '{same.id}', which is labelled there")
    problems.check(f"joining {len(new)} images to {where}")
    return Manifest([*known, *new], known.root)


def _resolved(path: Path) -> Path:
    return path.resolve()


def _same(one: Record, other: Record) -> bool:
    return filecmp.cmp(one.image, other.image, shallow=False)
