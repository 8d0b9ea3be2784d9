"""Pseudo-label stores: labels and confidences by image id; resumable, mergeable, safe for concurrent writers."""

from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.store.stats import count_classes
from semiovs.store.verify import verify

__all__ = ["PseudoLabelStore", "count_classes", "verify"]
