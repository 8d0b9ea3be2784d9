"""The table of formats; a new format is a module with `recognise`, `read` and perhaps `write`, and one row here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from semiovs.errors import DataError
from semiovs.exchange import coco, cvat, label_studio, labelme
from semiovs.exchange.annotation_file import AnnotationFile
from semiovs.exchange.annotations import Annotations
from semiovs.exchange.problems import ProblemList
from semiovs.exchange.regions import ExportLabel
from semiovs.vocab.colors import RGB

Write = Callable[[Iterable[ExportLabel], Sequence[str], float | None], str]
Setup = Callable[[Sequence[str], Sequence[RGB]], str]

AUTO = "auto"


@dataclass(frozen=True)
class AnnotationFormat:
    """The functions that read and write the annotations of one tool.

    title: its full name; recognise: whether a file has this format; write: text of (labels, class names, tolerance), or
    None; file: name of a written file in a folder; setup: text of (names, colours) that prepares the tool, and the name
    of its file.
    """

    title: str
    recognise: Callable[[AnnotationFile], bool]
    read: Callable[[AnnotationFile, ProblemList], Annotations]
    write: Write | None = None
    file: str = ""
    setup: tuple[str, Setup] | None = None


def list_formats(*, predictions: bool = False, prefix: str = "") -> Mapping[str, AnnotationFormat]:
    """Name -> format. predictions, prefix: of Label Studio, see `label_studio.read` and `label_studio.write`."""
    read_tasks = partial(label_studio.read, predictions=predictions)
    write_tasks = partial(label_studio.write, prefix=prefix)
    return MappingProxyType(
        {
            "coco": AnnotationFormat("COCO JSON", coco.recognise, coco.read, coco.write, "annotations.json"),
            "cvat": AnnotationFormat(
                "CVAT for images 1.1",
                cvat.recognise,
                cvat.read,
                cvat.write,
                "annotations.xml",
                ("labels.json", cvat.format_setup),
            ),
            "label-studio": AnnotationFormat(
                "Label Studio JSON",
                label_studio.recognise,
                read_tasks,
                write_tasks,
                "tasks.json",
                ("interface.xml", label_studio.format_setup),
            ),
            "labelme": AnnotationFormat("LabelMe JSON", labelme.recognise, labelme.read),
        }
    )


def read_annotations(
    path: Path, problems: ProblemList, *, name: str = AUTO, predictions: bool = False
) -> tuple[Annotations, tuple[str, ...]]:
    """Read one file, or all JSON and XML files of a folder; also returns the names of the formats found.

    name: the format, or ``auto`` to recognise it; problems: collects the problems inside of files.

    Raises:
        DataError: no such file, or a folder without any.
    """
    table = list_formats(predictions=predictions)
    found, names = Annotations(), set()
    for file in _find_files(path):
        with problems.collect():
            document = AnnotationFile.read(file)
            which = _recognise_format(document, table) if name == AUTO else name
            found.add(table[which].read(document, problems))
            names.add(which)
    return found, tuple(sorted(names))


def _find_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder of annotations")
    empty = True
    for directory, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith((".json", ".xml")) and not name.startswith("."):
                empty = False
                yield Path(directory) / name
    if empty:
        raise DataError(f"{path}: no JSON or XML files in this folder")


def _recognise_format(document: AnnotationFile, table: Mapping[str, AnnotationFormat]) -> str:
    for name, row in table.items():
        if row.recognise(document):
            return name
    known = ", ".join(row.title for row in table.values())
    if isinstance(document.json, list) and not document.json:
        raise DataError(f"{document.path}: an empty list, no annotations in it")
    held = "XML" if document.xml is not None else "JSON"
    hint = "; from Label Studio, export 'JSON' and not 'JSON-MIN'" if isinstance(document.json, list) else ""
    raise DataError(f"{document.path}: {held} of no kind that is known ({known}){hint}")
