"""Segmenters, encoders, weights."""
