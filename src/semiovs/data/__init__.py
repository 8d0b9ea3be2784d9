"""Images, masks, lists, streams and batches."""

from semiovs.data.batch import IGNORE, Batch, Labeled, OpenVocab, Unlabeled, flipped, followed
from semiovs.data.check import check_sources
from semiovs.data.image import read_image
from semiovs.data.manifest import Manifest
from semiovs.data.masks import MaskReader
from semiovs.data.normalization import normalize
from semiovs.data.record import Record
from semiovs.data.sources import LabelSource, MaskFiles, MaskFolder, Sources
from semiovs.data.store import PseudoLabelStore
from semiovs.data.streams import StepStream, batch_digest, steps_per_epoch
from semiovs.data.views import Views
from semiovs.data.workers import loader

__all__ = [
    "IGNORE",
    "Batch",
    "LabelSource",
    "Labeled",
    "Manifest",
    "MaskFiles",
    "MaskFolder",
    "MaskReader",
    "OpenVocab",
    "PseudoLabelStore",
    "Record",
    "Sources",
    "StepStream",
    "Unlabeled",
    "Views",
    "batch_digest",
    "check_sources",
    "flipped",
    "followed",
    "loader",
    "normalize",
    "read_image",
    "steps_per_epoch",
]
