"""The page of a run: what was trained, what it scored, where it is wrong."""
