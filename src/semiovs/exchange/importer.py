"""Import annotations: masks and a list for `data.labeled`. Everything is written, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from semiovs.errors import DataError
from semiovs.exchange.annotations import AnnotatedImage, Annotations, Size, paint
from semiovs.exchange.class_rules import ClassRules
from semiovs.exchange.image_index import ImageIndex
from semiovs.exchange.image_lists import join_lists, list_remaining
from semiovs.exchange.problems import ProblemList, SkippedShapes, explain_undrawn
from semiovs.files import new_folder, write_text
from semiovs.images.conventions import IGNORE
from semiovs.images.image import read_size
from semiovs.images.manifest import Manifest
from semiovs.images.palette import build_palette
from semiovs.images.record import Record
from semiovs.store.label_png import encode_label

#: Files in the folder that an import makes.
MASKS, LABELED, UNLABELED, CLASSES = "masks", "labeled.jsonl", "unlabeled.jsonl", "classes.txt"

#: Images with fewer pixels may have shapes that cover none.
_TINY = 1000

Progress = Callable[[int, int], None]


@dataclass
class ImportResult:
    """What came in.

    records: images with their masks; listed: images in the list (with those of `Importer.known`); bare: images that the
    file lists without any shape that can be drawn, left out; pixels: of each value; rest: pixels that no shape covered;
    drawn: shapes; empty: shapes thinner than a pixel; skipped: shapes without pixels; left_out: names of images with
    problems, if they are skipped; left: images in `Importer.pool` that are still bare.
    """

    records: list[Record] = field(default_factory=list)
    listed: int = 0
    bare: list[str] = field(default_factory=list)
    pixels: Counter[int] = field(default_factory=Counter)
    rest: int = 0
    drawn: int = 0
    empty: int = 0
    skipped: SkippedShapes = field(default_factory=SkippedShapes)
    left_out: list[str] = field(default_factory=list)
    left: int | None = None


@dataclass
class Importer:
    """Writes annotations as masks into a new folder: ``masks/<id>.png`` and ``labeled.jsonl``.

    index: the images; out: the folder; root: start of paths in lists; source: of records that name none; known:
    labelled images that are added to the list; pool: unlabelled images, of which ``unlabeled.jsonl`` lists those that
    stay unlabelled; skip: leave images with problems out instead of refusing all; name_classes: write ``classes.txt``.
    """

    rules: ClassRules
    index: ImageIndex
    out: Path
    root: Path = Path()
    source: str = ""
    known: Manifest | None = None
    pool: Manifest | None = None
    skip: bool = False
    name_classes: bool = False

    def run(self, annotations: Annotations, problems: ProblemList, progress: Progress | None = None) -> ImportResult:
        """Write the folder, completely or not at all.

        Raises:
            DataError: the folder is there and not empty, problems (unless `skip`), an image that is labelled already,
                no image at all, or no shape that could be drawn.
        """
        unknown = ProblemList()
        ids = self.rules.ids(annotations, unknown)
        if self.skip:
            unknown.check("the labels")  # the map is to be mended, not the images
        problems.found += unknown.found
        done, taken = ImportResult(), dict[str, str]()
        done.skipped.add_all(annotations.skipped)
        with new_folder(self.out) as partial:
            for number, image in enumerate(annotations.images, 1):
                own = ProblemList(image.faults)
                with own.collect(image.where):
                    record = self.index.find(image.name, *image.aliases)
                    if record.id in taken:
                        raise DataError(f"image '{record.id}' is annotated in {taken[record.id]} already")
                    taken[record.id] = image.where
                    self._import_image(image, record, ids, partial / MASKS, done, own)
                if own:
                    done.left_out.append(image.name)
                    problems.found += own.found
                if progress is not None:
                    progress(number, len(annotations.images))
            if not self.skip or not done.records:
                problems.check("the annotations")
            if not done.drawn and (done.skipped or done.empty):
                raise DataError(explain_undrawn(done.skipped, done.empty))
            if not done.records:
                raise DataError(_explain_nothing(annotations, done))
            self._write_lists(partial, done)
        return done

    def _import_image(
        self,
        image: AnnotatedImage,
        record: Record,
        ids: Mapping[str, int],
        folder: Path,
        done: ImportResult,
        problems: ProblemList,
    ) -> None:
        rest = self.rules.id_of(self.rules.rest)
        assert rest is not None
        if not image.shapes and rest == IGNORE:
            done.bare.append(record.id)
            return
        size = _require_size(image, record)
        painted = paint(
            image,
            size,
            ids,
            rest=rest,
            crowd_ignored=self.rules.crowd_ignored,
            problems=problems,
            skipped=done.skipped,
        )
        inside = len(image.shapes) - painted.outside
        if painted.covered <= 1 and inside and painted.label.size > _TINY:
            problems.add(
                image.where, f"its {inside} shapes cover {painted.covered} pixels; are the coordinates from 0 to 1?"
            )
        if problems:
            return
        if not inside and rest == IGNORE:
            done.bare.append(record.id)
            return
        colors = build_palette(self.rules.vocabulary.shown_colors).tobytes()
        path = folder / f"{record.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            encode_label(painted.label, colors)
        )  # the folder is renamed at the end, so single files need no sync
        mask = self.out / MASKS / f"{record.id}.png"
        done.records.append(replace(record, mask=mask, source=record.source or self.source, line=0))
        values, counts = np.unique(painted.label, return_counts=True)
        done.pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        done.rest += painted.bare
        done.drawn += painted.drawn
        done.empty += painted.empty

    def _write_lists(self, folder: Path, done: ImportResult) -> None:
        labeled = Manifest(done.records, self.root)
        if self.known is not None:
            labeled = join_lists(self.known, done.records, str(self.known.origin))
        labeled.write_jsonl(folder / LABELED)
        done.listed = len(labeled)
        if self.pool is not None:
            left = list_remaining(self.pool, done.records, self.root)
            left.write_jsonl(folder / UNLABELED)
            done.left = len(left)
        if self.name_classes:
            write_text(folder / CLASSES, "".join(f"{name}\n" for name in self.rules.vocabulary.names))


def _require_size(image: AnnotatedImage, record: Record) -> Size:
    """Read the size (height, width) of an image and check that its annotations are for that size."""
    width, height = read_size(record.image)
    if image.size is None or image.size == (height, width):
        return height, width
    hint = "was it scaled since?"
    if image.size == (width, height):
        hint = "turned: was it annotated without regard to the EXIF orientation?"
    raise DataError(
        f"annotated as {image.size[1]}x{image.size[0]} pixels, but {record.image} is {width}x{height} ({hint})"
    )


def _explain_nothing(annotations: Annotations, done: ImportResult) -> str:
    if done.bare:
        return (
            f"all {len(done.bare)} images are without any shape; if every pixel of them is of one class, --rest "
            f"CLASS says so"
        )
    if annotations.untouched:
        return (
            f"none of the {len(annotations.untouched)} tasks was handed in; --predictions takes what the model "
            f"said, unseen"
        )
    return "no image is annotated"
