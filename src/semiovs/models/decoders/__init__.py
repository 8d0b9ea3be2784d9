"""Segmenters by decoder."""
