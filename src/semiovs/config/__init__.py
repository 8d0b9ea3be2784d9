"""Schema, presets, loading."""
