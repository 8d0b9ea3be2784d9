"""Metrics and evaluation."""

from semiovs.evaluation.confusion import ConfusionMatrix
from semiovs.evaluation.evaluate import Evaluation, EvaluationStoppedError, evaluate

__all__ = ["ConfusionMatrix", "Evaluation", "EvaluationStoppedError", "evaluate"]
