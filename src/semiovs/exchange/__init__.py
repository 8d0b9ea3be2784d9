"""Import and export annotation files: COCO, CVAT, Label Studio, LabelMe.

All formats are read into `Annotations` (images with named shapes), which `Importer` paints into masks; `Exporter`
writes labels.
"""

from semiovs.exchange.annotations import IGNORE_NAME, AnnotatedImage, Annotations, Bitmap, Region, Shape, paint
from semiovs.exchange.class_rules import ClassRules, find_declared_classes
from semiovs.exchange.exporter import ChosenImage, ExportedFiles, Exporter
from semiovs.exchange.formats import AUTO, AnnotationFormat, list_formats, read_annotations
from semiovs.exchange.image_index import ImageIndex
from semiovs.exchange.importer import Importer, ImportResult
from semiovs.exchange.problems import ProblemList
from semiovs.exchange.regions import ExportLabel

__all__ = [
    "AUTO",
    "IGNORE_NAME",
    "AnnotatedImage",
    "AnnotationFormat",
    "Annotations",
    "Bitmap",
    "ChosenImage",
    "ClassRules",
    "ExportLabel",
    "ExportedFiles",
    "Exporter",
    "ImageIndex",
    "ImportResult",
    "Importer",
    "ProblemList",
    "Region",
    "Shape",
    "find_declared_classes",
    "list_formats",
    "paint",
    "read_annotations",
]
