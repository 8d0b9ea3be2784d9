"""Data sets: find the images and masks of a data set by its name."""
