"""Metrics and evaluation."""

from semiovs.evaluation.confusion import ConfusionMatrix
from semiovs.evaluation.evaluate import Evaluation, evaluate

__all__ = ["ConfusionMatrix", "Evaluation", "evaluate"]
