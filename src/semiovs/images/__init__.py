"""Image files, masks and lists of them: read the same way everywhere. Nothing here needs torch."""

from semiovs.images.conventions import IGNORE
from semiovs.images.image import read_image
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record

__all__ = ["IGNORE", "Manifest", "MaskReader", "Record", "read_image"]
