"""What labelling costs from a thousand images to a thousand million: measured stages, and workers that fail."""
