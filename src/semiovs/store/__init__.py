"""Pseudo-label stores: labels and confidences by image id, written by many, resumable, mergeable, verifiable."""

from semiovs.store.pseudo_labels import PseudoLabelStore

__all__ = ["PseudoLabelStore"]
