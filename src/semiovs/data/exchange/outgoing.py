"""Labels on their way out: which images, under which names, into which files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiovs.data.exchange.annotations import IGNORE_NAME
from semiovs.data.exchange.formats import Format
from semiovs.data.exchange.pieces import Labeled
from semiovs.data.exchange.problems import Problems
from semiovs.data.image import shown_size
from semiovs.data.palette import palette
from semiovs.data.record import Record
from semiovs.data.sources import LabelSource
from semiovs.errors import DataError
from semiovs.files import atomic_write, write_text
from semiovs.vocab.vocabulary import Vocabulary

Progress = Callable[[int, int], None]

#: Suffix of names of images that are not at hand.
_UNSEEN = ".jpg"
#: Colour of ignored pixels, as VOC paints them: no class has it.
_IGNORED = (224, 224, 192)


@dataclass(frozen=True)
class Chosen:
    """An image to hand out. score: mean confidence of its label, if known; record: the image, if at hand."""

    id: str
    score: float | None = None
    record: Record | None = None

    @property
    def name(self) -> str:
        """File name in the annotations: the id with the suffix of the image."""
        return f"{self.id}{_UNSEEN if self.record is None else self.record.image.suffix}"


@dataclass(frozen=True)
class Written:
    """Files that were written: annotations, what sets the tool up (or None), and the folder of images (or None)."""

    annotations: Path
    setup: Path | None
    images: Path | None


@dataclass
class Exporter:
    """Writes labels as annotations.

    labels: where they are; tolerance: pixels that polygons may be off, None for exact masks.
    """

    labels: LabelSource
    vocabulary: Vocabulary
    form: Format
    tolerance: float | None = None

    def run(self, chosen: Sequence[Chosen], out: Path, progress: Progress | None = None) -> Written:
        """Write `out`: a file (``.json`` or ``.xml``), or a folder that also gets copies of the images that are at hand.

        Raises:
            DataError: `out` is there already, labels that cannot be read or do not fit their images, or names that no file
                can hold.
        """
        assert self.form.write is not None
        alone = out.suffix.lower() in {".json", ".xml"}
        main = out if alone else out / self.form.file
        if out.exists() and (alone or not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out}: is there already; choose another name, nothing is replaced")
        problems = Problems()
        labeled = list(self._labeled(chosen, problems, progress))
        problems.check("the labels")
        names = self.vocabulary.names
        write_text(main, self.form.write(labeled, names, self.tolerance))
        images = None if alone else _copied(chosen, out / "images")
        return Written(main, self._set_up(main, alone=alone), images)

    def _labeled(self, chosen: Sequence[Chosen], problems: Problems, progress: Progress | None) -> Iterator[Labeled]:
        for number, item in enumerate(chosen, 1):
            with problems.collect():
                yield self._one(item)
            if progress is not None:
                progress(number, len(chosen))

    def _one(self, item: Chosen) -> Labeled:
        label = self.labels.label(item.id)
        if not item.name.isprintable():
            raise DataError(f"{item.name!r}: an annotation file cannot hold this name; rename the image")
        if item.record is not None and (size := shown_size(item.record.image)) != label.shape[::-1]:
            raise DataError(
                f"{item.record.image}: is {size[0]}x{size[1]} pixels, but its label is {label.shape[1]}x{label.shape[0]}; "
                "are these the images that were labelled?"
            )
        return Labeled(item.name, label, item.score)

    def _set_up(self, main: Path, *, alone: bool) -> Path | None:
        if self.form.setup is None:
            return None
        file, text = self.form.setup
        path = main.with_name(f"{main.stem}-{file}" if alone else file)
        names = [*self.vocabulary.names, IGNORE_NAME]
        colors = [tuple(color) for color in palette(self.vocabulary.colors).tolist()]
        shown = [*colors[: len(self.vocabulary)], _IGNORED]
        write_text(path, text(names, shown))
        return path


def _copied(chosen: Sequence[Chosen], folder: Path) -> Path | None:
    """Copy the images that are at hand; None if there are none."""
    made = None
    for item in chosen:
        if item.record is None:
            continue
        made = folder
        with item.record.image.open("rb") as source, atomic_write(folder / item.name) as target:
            shutil.copyfileobj(source, target)
    return made
