"""Confusion matrix, mIoU, evaluation."""
