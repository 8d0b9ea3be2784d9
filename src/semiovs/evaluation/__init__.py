"""Metrics and evaluation."""

from semiovs.evaluation.confusion import ConfusionMatrix

__all__ = ["ConfusionMatrix"]
