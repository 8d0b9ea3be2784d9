"""Images, masks, lists, streams and batches."""

from semiovs.data.batch import IGNORE, Batch, Labeled, OpenVocab, Unlabeled
from semiovs.data.views import Views

__all__ = ["IGNORE", "Batch", "Labeled", "OpenVocab", "Unlabeled", "Views"]
