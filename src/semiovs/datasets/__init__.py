"""Data sets: where the images and masks of a name lie."""
