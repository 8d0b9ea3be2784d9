"""Ours against a plain version of the same thing, side by side: `python -m benchmarks [subject …]`."""
