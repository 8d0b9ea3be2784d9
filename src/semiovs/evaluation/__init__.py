"""Metrics and evaluation."""

from semiovs.evaluation.confusion import ConfusionMatrix
from semiovs.evaluation.evaluate import Evaluation, EvaluationStoppedError, Example, evaluate
from semiovs.evaluation.image_counts import ImageCounts

__all__ = ["ConfusionMatrix", "Evaluation", "EvaluationStoppedError", "Example", "ImageCounts", "evaluate"]
