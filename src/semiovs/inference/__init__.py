"""Prediction on files, and pictures of it."""
