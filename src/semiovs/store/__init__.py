"""Pseudo-label stores: labels and confidences by image id, written by many, resumable, mergeable, verifiable."""

from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.store.stats import count_classes
from semiovs.store.verify import verify

__all__ = ["PseudoLabelStore", "count_classes", "verify"]
