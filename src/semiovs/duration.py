"""Durations as text."""

from __future__ import annotations


def format_duration(seconds: float) -> str:
    """Format a duration: ``8 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
