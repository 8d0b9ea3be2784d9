"""Annotation files of other programs: COCO, CVAT, Label Studio, LabelMe; labels out for correction, and corrected ones back.

Every format is read into `Annotations` (images with named shapes), which `Importer` paints into masks; `Exporter` writes labels.
"""

from semiovs.exchange.annotations import IGNORE_NAME, Annotated, Annotations, Bitmap, Region, Shape, paint
from semiovs.exchange.class_rules import Rules, declared_classes
from semiovs.exchange.formats import AUTO, Format, formats, read_annotations
from semiovs.exchange.image_index import ImageIndex
from semiovs.exchange.incoming import Imported, Importer
from semiovs.exchange.outgoing import Chosen, Exporter, Written
from semiovs.exchange.problems import Problems
from semiovs.exchange.regions import Labeled

__all__ = [
    "AUTO",
    "IGNORE_NAME",
    "Annotated",
    "Annotations",
    "Bitmap",
    "Chosen",
    "Exporter",
    "Format",
    "ImageIndex",
    "Imported",
    "Importer",
    "Labeled",
    "Problems",
    "Region",
    "Rules",
    "Shape",
    "Written",
    "declared_classes",
    "formats",
    "paint",
    "read_annotations",
]
