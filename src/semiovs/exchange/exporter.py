"""Export labels as annotation files, with copies of the images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiovs.data.label_source import LabelSource
from semiovs.errors import DataError
from semiovs.exchange.annotations import IGNORE_NAME
from semiovs.exchange.formats import AnnotationFormat
from semiovs.exchange.problems import ProblemList
from semiovs.exchange.regions import ExportLabel
from semiovs.files import new_folder, write_text
from semiovs.images.image import read_size
from semiovs.images.palette import build_palette
from semiovs.images.record import Record
from semiovs.vocab.vocabulary import Vocabulary

Progress = Callable[[int, int], None]

#: Suffix in the names of images whose files are unknown.
_UNSEEN = ".jpg"
_IMAGES = "images"
#: Colour of ignored pixels, as VOC paints them: no class has it.
_IGNORED = (224, 224, 192)


@dataclass(frozen=True)
class ChosenImage:
    """An image to export. score: mean confidence of its label, if known; record: the image, if its file is known."""

    id: str
    score: float | None = None
    record: Record | None = None

    @property
    def name(self) -> str:
        """File name in the annotations: the id with the suffix of the image."""
        return f"{self.id}{_UNSEEN if self.record is None else self.record.image.suffix}"


@dataclass(frozen=True)
class ExportedFiles:
    """Files that were written: annotations, setup of the tool (or None), and the folder of images (or None)."""

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
    form: AnnotationFormat
    tolerance: float | None = None

    def run(self, chosen: Sequence[ChosenImage], out: Path, progress: Progress | None = None) -> ExportedFiles:
        """Write `out`: a file (``.json`` or ``.xml``), or a folder that also gets copies of the images.

        Raises:
            DataError: `out` is there already, labels that cannot be read or do not fit their images, or names that no
            file
                can hold.
        """
        if out.suffix.lower() in {".json", ".xml"}:
            if out.exists():
                raise DataError(f"{out}: is there already; choose another name, nothing is replaced")
            write_text(out, self._format_annotations(chosen, progress))
            return ExportedFiles(out, self._write_setup(out, f"{out.stem}-"), None)
        with new_folder(out) as partial:
            write_text(partial / self.form.file, self._format_annotations(chosen, progress))
            setup = self._write_setup(partial / self.form.file, "")
            images = _copy_images(chosen, partial / _IMAGES)
        return ExportedFiles(out / self.form.file, setup and out / setup.name, out / _IMAGES if images else None)

    def _format_annotations(self, chosen: Sequence[ChosenImage], progress: Progress | None) -> str:
        """Annotations of all images; labels are read one by one."""
        assert self.form.write is not None
        problems = ProblemList()
        text = self.form.write(self._read_labels(chosen, problems, progress), self.vocabulary.names, self.tolerance)
        problems.check("the labels")
        return text

    def _read_labels(
        self, chosen: Sequence[ChosenImage], problems: ProblemList, progress: Progress | None
    ) -> Iterator[ExportLabel]:
        for number, item in enumerate(chosen, 1):
            with problems.collect():
                yield self._read_label(item)
            if progress is not None:
                progress(number, len(chosen))

    def _read_label(self, item: ChosenImage) -> ExportLabel:
        label = self.labels.label(item.id)
        if not item.name.isprintable():
            raise DataError(f"{item.name!r}: an annotation file cannot hold this name; rename the image")
        if item.record is not None and (size := read_size(item.record.image)) != label.shape[::-1]:
            raise DataError(
                f"{item.record.image}: is {size[0]}x{size[1]} pixels, but its label is "
                f"{label.shape[1]}x{label.shape[0]}; "
                "are these the images that were labelled?"
            )
        return ExportLabel(item.name, label, item.score)

    def _write_setup(self, main: Path, prefix: str) -> Path | None:
        if self.form.setup is None:
            return None
        file, text = self.form.setup
        path = main.with_name(prefix + file)
        names = [*self.vocabulary.names, IGNORE_NAME]
        colors = [tuple(color) for color in build_palette(self.vocabulary.shown_colors).tolist()]
        shown = [*colors[: len(self.vocabulary)], _IGNORED]
        write_text(path, text(names, shown))
        return path


def _copy_images(chosen: Sequence[ChosenImage], folder: Path) -> int:
    """Copy the images whose files are known; returns how many."""
    made = 0
    for item in chosen:
        if item.record is None:
            continue
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.record.image, path)
        made += 1
    return made
